"""Images drawn from formulas: repeatable, cached, and of classes that can be told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.datasets import formulas
from hdx.datasets._base import ImageSet
from hdx.datasets.formulas import Formulas

SMALL = {"fractals": 4, "glyphs": 3, "shapes": 5, "train_per_class": 6, "test_per_class": 2, "image_size": 20}
FAMILIES = ("fractal", "glyph", "shape")


def pixels(split: ImageSet) -> Tensor:
    return split.fetch(np.arange(len(split)))


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> Formulas:
    options = {"fractals": 8, "glyphs": 8, "shapes": 8, "train_per_class": 10, "test_per_class": 10, "image_size": 32}
    return Formulas(None, tmp_path_factory.mktemp("formulas"), **options)


def test_classes_labels_and_splits(cache_dir: Path) -> None:
    data = Formulas(None, cache_dir, **SMALL)
    assert data.classes[0] == "fractal-0000" and data.classes[4] == "glyph-0000" and data.classes[-1] == "shape-0004"
    assert data.groups == ["fractal"] * 4 + ["glyph"] * 3 + ["shape"] * 5
    assert np.array_equal(data.train.labels, np.repeat(np.arange(12), 6))
    assert np.array_equal(data.test.labels, np.repeat(np.arange(12), 2))
    assert data.train.image_shape == (3, 20, 20)
    assert not set(data.train.rows) & set(data.test.rows)
    together = torch.cat([pixels(data.train), pixels(data.test)]).flatten(1)
    assert len(torch.unique(together, dim=0)) == 12 * 8  # no two images are equal


def test_the_same_options_give_the_same_pixels(tmp_path: Path) -> None:
    one, again = (Formulas(None, tmp_path / name, **SMALL) for name in ("a", "b"))
    assert torch.equal(pixels(one.train), pixels(again.train)) and torch.equal(pixels(one.test), pixels(again.test))
    assert one.train.digest == again.train.digest


@pytest.mark.parametrize("change", [{"formula_seed": 1}, {"image_size": 24}, {"train_per_class": 7}])
def test_other_options_give_other_pixels_and_another_digest(change: dict[str, int], cache_dir: Path) -> None:
    one, other = Formulas(None, cache_dir, **SMALL), Formulas(None, cache_dir, **{**SMALL, **change})
    assert one.train.digest != other.train.digest
    assert other.train.image_shape[1] == change.get("image_size", 20)
    if "formula_seed" in change:
        both = [pixels(each.train).float() for each in (one, other)]
        assert (both[0] - both[1]).abs().mean() > 20


def test_a_class_does_not_depend_on_how_many_others_there_are(cache_dir: Path) -> None:
    few, more = Formulas(None, cache_dir, **SMALL), Formulas(None, cache_dir, **{**SMALL, "fractals": 6, "glyphs": 5})
    for name in few.classes:
        rows = [np.flatnonzero(data.train.labels == data.classes.index(name)) for data in (few, more)]
        assert torch.equal(few.train.fetch(rows[0]), more.train.fetch(rows[1]))


def test_images_are_drawn_once_and_then_read(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Formulas(None, cache_dir, **SMALL)

    def unwanted(*arguments: object) -> None:
        raise AssertionError("drawn again")

    monkeypatch.setattr(formulas, "_draw_all", unwanted)
    assert torch.equal(pixels(Formulas(None, cache_dir, **SMALL).train), pixels(first.train))
    with pytest.raises(AssertionError, match="drawn again"):
        Formulas(None, cache_dir, **{**SMALL, "formula_seed": 1})


def test_many_processes_draw_what_one_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"fractals": 2, "glyphs": 60, "shapes": 2, "train_per_class": 1, "test_per_class": 1, "image_size": 12}
    monkeypatch.setattr(formulas, "n_cores", lambda: 1)
    alone = Formulas(None, tmp_path / "alone", **options)
    monkeypatch.setattr(formulas, "n_cores", lambda: 2)
    assert Formulas(None, tmp_path / "together", **options).train.digest == alone.train.digest


def test_brightness_and_contrast_are_those_of_the_published_recipe(larger: Formulas) -> None:
    """Coarse enough for another platform's rounding, fine enough for a changed formula."""
    x, family = pixels(larger.train).double() / 255, np.array(larger.groups)[larger.train.labels]
    means = {name: float(x[family == name].mean()) for name in FAMILIES}
    assert means == pytest.approx({"fractal": 0.4760, "glyph": 0.5006, "shape": 0.4757}, abs=0.003)
    assert float(x.std()) == pytest.approx(0.2371, abs=0.003)


def drawing(images: Tensor) -> Tensor:
    """How far each pixel is from the image's mean grey, of unit length: ink may be darker or lighter than its paper."""
    grey = images.float().mean(1).flatten(1)  # [B, S * S]
    return F.normalize((grey - grey.mean(1, keepdim=True)).abs(), dim=1)


def nearest_mean(data: Formulas, look: object) -> np.ndarray:
    """[N] bool: whether the nearest class mean of the train split is right, on the test split."""
    train, test = look(pixels(data.train)), look(pixels(data.test))  # type: ignore[operator]
    labels = torch.from_numpy(data.train.labels)
    means = torch.stack([train[labels == label].mean(0) for label in range(len(data.classes))])
    return torch.cdist(test, means).argmin(1).numpy() == data.test.labels


def test_classes_can_be_told_apart_by_their_pixels(larger: Formulas) -> None:
    """Chance is 1/24 = 4 %; ink classes by what is drawn (50 %), shapes, whose tones are part of the class, by colour (24 %)."""
    family = np.array(larger.groups)[larger.test.labels]
    by_drawing = nearest_mean(larger, drawing)
    by_colour = nearest_mean(larger, lambda images: images.float().flatten(1))
    assert by_drawing[family == "fractal"].mean() > 0.4
    assert by_drawing[family == "glyph"].mean() > 0.4
    assert by_colour[family == "shape"].mean() > 0.15
