"""What a teacher says, kept and not kept: the same numbers; and what is never used again."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hdx.augments._named import Augment
from hdx.backbones._base import InputSpec
from hdx.datasets._base import Dataset
from hdx.datasets._draws import StoredCrops
from hdx.datasets.transforms import EvalTransform
from hdx.engine import teacher_cache
from hdx.engine.loader import PhaseLoader
from hdx.engine.teacher_cache import TeacherCache, Teaching
from hdx.errors import ConfigError, RunError
from hdx.losses._base import Outputs
from hdx.methods._base import Batch
from hdx.teachers._base import Teacher, Trained
from hdx.teachers._classifier import Classifier
from tests.unit.engine.conftest import make_body

CLASSES = [f"{digit}" for digit in range(10)]


def teacher_of(digits: Dataset, seed: int = 0, **options: Any) -> Teacher:
    body = make_body(digits.train.image_shape, seed)
    head = Classifier(3 * torch.randn(10, body.n_features), torch.randn(10))
    model = Trained(body, head, CLASSES[::-1], 1, "exp/tiny-s0")
    return Teacher(model, **{"batch_size": 16, "cache": None, "store": "fp16", "k": 3, **options})


def cache_at(root: Path, digits: Dataset, **options: Any) -> TeacherCache:
    own = {name: options.pop(name) for name in ("augment", "crops", "features") if name in options}
    return TeacherCache(root, teacher_of(digits, **options), digits.train, **own)


def ask(cache: TeacherCache, digits: Dataset, rows: np.ndarray, crop: int | None = None) -> torch.Tensor:
    crops = None if crop is None else torch.full((len(rows),), crop)
    return cache(rows, digits.train.fetch(rows), crops).logits


@pytest.mark.parametrize("store", ["fp16", "top_k"])
def test_kept_or_not_the_numbers_are_the_same_in_any_order(store: str, root: Path, digits: Dataset) -> None:
    rows = np.random.default_rng(0).permutation(100)
    live, kept = (cache_at(root, digits, store=store, cache=cache, features=True) for cache in (False, None))
    whole = live(rows, digits.train.fetch(rows), None)
    for part in (rows[:7], rows[3:40], rows[[50, 50, 3]], rows, rows[::-1].copy()):
        found, place = kept(part, digits.train.fetch(part), None), [int(np.flatnonzero(rows == row)[0]) for row in part]
        assert found.features is not None and whole.features is not None
        assert torch.equal(found.logits, whole.logits[place]) and torch.equal(found.features, whole.features[place])
    assert (live.forwarded, kept.forwarded) == (100, 7 + 33 + 2 + 59)  # one row twice in a batch is asked about twice
    again = cache_at(root, digits, store=store, features=True)
    assert torch.equal(again(rows, digits.train.fetch(rows), None).logits, whole.logits) and again.forwarded == 0
    exact = teacher_of(digits)(digits.train.fetch(rows)).logits
    assert torch.equal(whole.logits.argmax(1), exact.argmax(1))
    if store == "fp16":
        torch.testing.assert_close(whole.logits, exact, rtol=1e-3, atol=2e-2)


def test_each_crop_is_kept_for_runs_of_any_number_of_crops(root: Path, digits: Dataset) -> None:
    augment, rows = Augment(["rotate"], 32), np.arange(20)
    parts = {"augment": augment, "features": False}
    two, three = (cache_at(root, digits, crops=StoredCrops(n, 0), **parts) for n in (2, 3))
    first = {crop: ask(two, digits, rows, crop) for crop in (0, 1)}
    for crop in (0, 1, 2):
        found = ask(three, digits, rows, crop)
        assert crop == 2 or torch.equal(found, first[crop])
    assert (two.forwarded, three.forwarded) == (40, 20)
    mixed = three(rows[:2], digits.train.fetch(rows[:2]), torch.tensor([1, 0])).logits
    assert torch.equal(mixed, torch.stack([first[1][0], first[0][1]]))
    assert ask(cache_at(root, digits, crops=StoredCrops(2, 1), **parts), digits, rows, 0).shape == (20, 10)
    assert len(list(root.iterdir())) == 2  # another seed, other crops


@pytest.mark.parametrize("damage", ["flip", "truncate", "sums"])
def test_damage_is_noticed_and_mended(damage: str, root: Path, digits: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    rows = np.arange(40)
    good = ask(cache_at(root, digits), digits, rows)
    file = next(root.rglob("sums" if damage == "sums" else "outputs"))
    content = bytearray(file.read_bytes())
    if damage == "truncate":
        content = content[: len(content) // 2]
    else:
        content[8 * 3 if damage == "sums" else 24 * 5 + 1] ^= 0x10
    file.write_bytes(bytes(content))
    cache = cache_at(root, digits)
    with caplog.at_level(logging.WARNING, "hdx"):
        found = ask(cache, digits, rows)
    assert torch.equal(found, good)
    assert cache.forwarded == (40 if damage == "truncate" else 1)
    assert "teacher cache" in caplog.text and "again" in caplog.text


def test_a_cache_of_other_versions_is_left_alone_and_named(
    root: Path, digits: Dataset, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows, now = np.arange(8), teacher_cache.versions(teacher_cache.PACKAGES)
    monkeypatch.setattr(teacher_cache, "versions", lambda names: {**now, "torch": "2.8.0"})
    ask(cache_at(root, digits), digits, rows)
    old = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    monkeypatch.undo()
    cache = cache_at(root, digits)
    with caplog.at_level(logging.WARNING, "hdx"):
        ask(cache, digits, rows)
    assert cache.forwarded == 8
    (line,) = [record.getMessage() for record in caplog.records]
    assert f"teacher cache of hdx {now['hdx']}, torch 2.8.0" in line and f"torch {torch.__version__.partition('+')[0]}" in line
    assert all(path.read_bytes() == content for path, content in old.items())
    caplog.clear()
    ask(cache_at(root, digits), digits, rows)
    assert not caplog.records  # said once


def test_the_key_holds_everything_that_decides_a_row(root: Path, digits: Dataset) -> None:
    crops, rotate = StoredCrops(2, 0), Augment(["rotate"], 32)
    variants: list[dict[str, Any]] = [
        {},
        {"seed": 1},
        {"batch_size": 32},
        {"store": "top_k"},
        {"store": "top_k", "k": 4},
        {"features": True},
        {"augment": rotate, "crops": crops},
        {"augment": Augment(["rotate"], 48), "crops": crops},
        {"augment": Augment(["hflip"], 32), "crops": crops},
        {"augment": rotate, "crops": StoredCrops(2, 1)},
    ]
    folders = [cache_at(root, digits, **options).folder for options in variants]
    assert len(set(folders)) == len(variants)
    other = TeacherCache(root, teacher_of(digits), digits.test)
    assert other.folder not in folders
    flips = [cache_at(root, digits, augment=Augment(["hflip"], size), crops=crops).folder for size in (32, 48)]
    assert flips[0] == flips[1]  # nothing is warped
    ask(cache_at(root, digits), digits, np.arange(2))
    about = json.loads(next(root.rglob("about.json")).read_text())
    assert about["teacher"] == teacher_of(digits).digest() and about["images"] == digits.train.digest
    assert about["transform"]["size"] == 32 and about["versions"]["numpy"] == np.__version__


def test_fresh_crops_are_not_kept(root: Path, digits: Dataset, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hdx"):
        cache = cache_at(root, digits, augment=Augment(["crop"], 32))
    assert len(caplog.records) == 1 and "trainer.crops=K" in caplog.text
    ask(cache, digits, np.arange(3))
    ask(cache, digits, np.arange(3))
    assert cache.forwarded == 6 and not root.exists()
    with pytest.raises(ConfigError, match=r"teacher\.cache=true: .* give trainer\.crops=K"):
        cache_at(root, digits, augment=Augment(["crop"], 32), cache=True)
    caplog.clear()
    cache_at(root, digits, augment=Augment(["crop"], 32), cache=False)
    assert not caplog.records


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("cache", [None, False])
def test_logits_that_are_none_are_refused_and_not_kept(value: float, cache: bool | None, root: Path, digits: Dataset) -> None:
    asked = cache_at(root, digits, cache=cache)
    ask(asked, digits, np.arange(10, 12))
    before = {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}
    with torch.no_grad():
        asked.teacher.head.weight[3] = value  # type: ignore[union-attr, index]
    with pytest.raises(RunError, match=r"^teacher exp/tiny-s0 gives NaN or infinite logits for row 7 of the train split"):
        ask(asked, digits, np.arange(7, 12) if cache is None else np.array([7, 3]))
    assert {path: path.read_bytes() for path in root.rglob("*") if path.is_file()} == before


def test_ranks_fill_what_each_of_them_needs(root: Path, digits: Dataset) -> None:
    rows = np.arange(30)
    one, other = cache_at(root, digits), cache_at(root, digits)
    found = torch.cat([ask(one, digits, rows[:20]), ask(other, digits, rows[20:])])
    assert torch.equal(ask(one, digits, rows[::-1].copy()), found.flip(0)) and torch.equal(ask(other, digits, rows), found)
    assert (one.forwarded, other.forwarded) == (20, 10)


def test_a_phase_sees_its_own_classes_in_its_own_order(root: Path, digits: Dataset) -> None:
    cache, indices = cache_at(root, digits), np.array([40, 7, 23])
    images = digits.train.fetch(indices)
    positions = torch.tensor([2, 0])
    batch = Batch(images[positions].float(), torch.zeros(2, dtype=torch.int64), 0.5, positions, images[positions])
    found = Teaching(cache, ["4", "0", "9"], indices)(batch)
    assert isinstance(found, Outputs) and found.features is None
    whole = ask(cache, digits, indices[[2, 0]])
    assert torch.equal(found.logits, whole[:, [5, 9, 0]])  # the teacher has them from 9 to 0


def test_student_and_teacher_see_the_same_crop_at_the_larger_of_their_sizes(digits: Dataset) -> None:
    shape = digits.train.image_shape
    specs = [InputSpec(size, mean=(0.1,) * 3, std=(0.5,) * 3) for size in (32, 64)]
    student, teacher = (EvalTransform(spec, shape) for spec in specs)
    augment = Augment(["resized_crop"], max(student.resize_to, teacher.resize_to))
    rows = np.arange(6)
    parts = {"augment": augment, "transform": student, "crops": StoredCrops(1, 0), "raw": True}
    place = {"epochs": 1, "batch_size": 6, "seed": 0, "parts": (0, 0), "device": torch.device("cpu")}
    (batch,) = PhaseLoader(digits.train, rows, rows, **parts, **place)  # type: ignore[arg-type]
    assert batch.images is not None and batch.images.shape == (6, 1, 64, 64)
    assert torch.equal(batch.inputs, student(batch.images)) and teacher(batch.images).shape == (6, 3, 64, 64)
    own = digits.train.fetch(rows[batch.positions.numpy()])
    draws = StoredCrops(1, 0).draws(rows[batch.positions.numpy()], 0, augment.n_draws)
    at = {side: Augment(["resized_crop"], side)(own, draws) for side in (32, 64)}
    assert torch.equal(batch.images, at[64])  # nothing is made for the student and blown up for the teacher
    assert not torch.equal(teacher(at[32]), teacher(at[64]))
    torch.testing.assert_close(student(at[64]), student(at[32]), rtol=0, atol=0.15)  # the same region for the student
