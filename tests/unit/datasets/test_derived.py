"""Datasets made of another: long tails, wrong labels, corruptions, mosaics; pure in their seeds, and their identity."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdx import registry
from hdx.config.identity import group_hash
from hdx.config.validate import load
from hdx.datasets._base import Dataset
from hdx.datasets.long_tail import counts
from hdx.errors import ConfigError

DIGITS = {"name": "digits"}


def make(name: str, root: Path, **options: Any) -> Dataset:
    return registry.build("dataset", {"name": name, "of": DIGITS, **options}, None, root)


@pytest.fixture
def plain(tmp_path: Path) -> Dataset:
    return registry.build("dataset", DIGITS, None, tmp_path)


@pytest.mark.parametrize("profile", ["exponential", "pareto"])
def test_a_long_tail_has_the_ratio(profile: str, tmp_path: Path, plain: Dataset) -> None:
    data = make("long_tail", tmp_path, profile=profile, ratio=20)
    found, before = np.bincount(data.train.labels), np.bincount(plain.train.labels)
    expected = np.minimum(before, counts(profile, int(before.max()), 10, 20))
    np.testing.assert_array_equal(found, expected)
    assert found[-1] == round(before.max() / 20) and (np.diff(found) <= 0).sum() >= 8
    rows = np.array([3, 50])
    assert data.test is not plain.test and data.test.digest == plain.test.digest
    originals = data.train.rows[rows]  # type: ignore[attr-defined]
    np.testing.assert_array_equal(data.train.fetch(rows).numpy(), plain.train.fetch(originals).numpy())
    np.testing.assert_array_equal(data.train.labels[rows], plain.train.labels[originals])
    assert make("long_tail", tmp_path, profile=profile, ratio=20).train.digest == data.train.digest
    assert make("long_tail", tmp_path, profile=profile, ratio=20, seed=1).train.digest != data.train.digest


@pytest.mark.parametrize("kind", ["symmetric", "pair"])
def test_exactly_the_rate_of_each_class_is_wrong(kind: str, tmp_path: Path, plain: Dataset) -> None:
    data = make("noisy_labels", tmp_path, kind=kind, rate=0.4)
    wrong = data.train.labels != plain.train.labels
    for label in range(10):
        members = plain.train.labels == label
        assert wrong[members].sum() == round(0.4 * members.sum())
    steps = (data.train.labels - plain.train.labels)[wrong] % 10
    assert set(steps.tolist()) == ({1} if kind == "pair" else set(range(1, 10)))
    assert data.notes["wrong_labels"] == wrong.sum() and data.test.labels.tolist() == plain.test.labels.tolist()
    assert data.train.digest != plain.train.digest


def test_human_labels_are_drawn_from_the_soft_ones(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="dataset.kind=human: the training images have no soft labels"):
        make("noisy_labels", tmp_path, kind="human")
    from hdx.datasets.noisy_labels import _answered

    images = make("mosaic", tmp_path, train_images=4000, pictures=(1, 1)).train
    images.targets = np.tile(np.array([0.7, 0.3] + [0.0] * 8, np.float32), (4000, 1))
    drawn = np.bincount(_answered(images, 0), minlength=10)
    assert abs(drawn[0] / 4000 - 0.7) < 0.03 and drawn[2:].sum() == 0


def test_corruption_grows_with_severity(tmp_path: Path, plain: Dataset) -> None:
    rows = np.arange(20)
    for kind in ("noise", "contrast", "brightness"):
        away = []
        for severity in (1, 3, 5):
            data = make("corrupted", tmp_path, kind=kind, severity=severity)
            assert data.train.digest == plain.train.digest  # the test split alone
            away.append(float((data.test.fetch(rows).float() - plain.test.fetch(rows).float()).abs().mean()))
        assert away[0] < away[1] < away[2]
    both = make("corrupted", tmp_path, kind="inversion", splits="both")
    np.testing.assert_array_equal(both.train.fetch(rows).numpy(), 255 - plain.train.fetch(rows).numpy())


def test_a_mosaic_shows_its_pictures_and_has_their_classes(tmp_path: Path, plain: Dataset) -> None:
    data = make("mosaic", tmp_path, grid=3, pictures=(2, 5), train_images=60, test_images=20)
    images: Any = data.train
    assert images.image_shape == (1, 24, 24) and len(data.test) == 20
    canvases = images.fetch(np.arange(60)).numpy()
    for i in range(60):
        shown = images.rows[i][images.shown[i]]
        assert 2 <= len(shown) <= 5
        assert set(np.flatnonzero(images.targets[i])) == set(plain.train.labels[shown].tolist())
        empty = np.ones((3, 3), bool)
        for row, cell in zip(shown, images.cells[i][images.shown[i]]):
            y, x = divmod(int(cell), 3)
            empty[y, x] = False
            np.testing.assert_array_equal(
                canvases[i][:, 8 * y : 8 * y + 8, 8 * x : 8 * x + 8], plain.train.fetch(np.array([row]))[0].numpy()
            )
        assert not canvases[i].reshape(3, 8, 3, 8).transpose(0, 2, 1, 3)[empty].any()
    again = make("mosaic", tmp_path, grid=3, pictures=(2, 5), train_images=60, test_images=20)
    assert again.train.digest == images.digest
    with pytest.raises(ConfigError, match="dataset.pictures: expected 1 <= least <= most <= 4"):
        make("mosaic", tmp_path, pictures=(2, 5))


def test_the_dataset_that_it_is_made_of_is_part_of_the_identity(tmp_path: Path) -> None:
    def hashed(of: str) -> str:
        return group_hash(load(["dataset=long_tail", f"dataset.of={of}"]).data)

    assert hashed("{name: digits}") == hashed("{name: digits, split_seed: 0}")  # a default that is written out
    assert len({hashed("{name: digits}"), hashed("{name: digits, split_seed: 1}"), hashed("{name: omniglot}")}) == 3
    for folder, content in (("a", "1"), ("b", "1"), ("c", "2")):
        (tmp_path / folder / "x").mkdir(parents=True)
        (tmp_path / folder / "x" / "1.png").write_text(content)
    same, other, third = (hashed(f"{{name: folder, path: {tmp_path / folder}}}") for folder in "abc")
    assert same == other != third  # known by what they hold, wherever they lie


def test_what_is_wrong_with_it_is_said() -> None:
    with pytest.raises(ConfigError, match="dataset.of must be given with dataset=mosaic"):
        load(["dataset=mosaic"])
    with pytest.raises(ConfigError, match="split_sed"):
        load(["dataset=mosaic", "dataset.of={name: digits, split_sed: 1}"])
