from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.datasets.caltech101 import Caltech101
from hdx.errors import DataError


def test_real_counts_and_pinned_split(data_dir: Path, real_cache: Path) -> None:
    data = Caltech101(data_dir, real_cache)
    assert len(data.classes) == 100
    assert "Faces" in data.classes
    assert "Faces_easy" not in data.classes
    assert data.classes == sorted(data.classes)
    assert (len(data.train), len(data.test)) == (3000, 2895)
    assert np.array_equal(np.bincount(data.train.labels), np.full(100, 30))
    per_class = np.bincount(data.test.labels)
    assert (per_class.min(), per_class.max()) == (1, 50)
    assert per_class[data.classes.index("inline_skate")] == 1
    assert not set(data.train.rows) & set(data.test.rows)
    assert hashlib.sha256(np.concatenate([data.train.rows, data.test.rows]).tobytes()).hexdigest()[:16] == "0d0efa1cbadd0d08"
    assert data.train.image_shape == (3, 64, 64)


def test_real_images_without_faces_easy(data_dir: Path, real_cache: Path) -> None:
    Caltech101(data_dir, real_cache)
    shapes = [np.load(file, mmap_mode="r").shape for file in real_cache.glob("caltech101-*.npy")]
    assert shapes == [(8242, 3, 64, 64)]


def test_real_other_splits_share_the_decoded_images(data_dir: Path, real_cache: Path) -> None:
    first = Caltech101(data_dir, real_cache)
    files = {file.name: file.stat().st_mtime_ns for file in real_cache.glob("caltech101-*")}
    other = Caltech101(data_dir, real_cache, split_seed=1, train_per_class=10)
    assert files == {file.name: file.stat().st_mtime_ns for file in real_cache.glob("caltech101-*")}
    assert len(other.train) == 1000
    shared = np.intersect1d(first.test.rows, other.test.rows)[:5]
    for row in shared:
        one, two = (d.test.fetch(np.flatnonzero(d.test.rows == row)) for d in (first, other))
        assert torch.equal(one, two)


def test_real_too_many_training_images(data_dir: Path, real_cache: Path) -> None:
    with pytest.raises(DataError, match="train_per_class=31: class 'inline_skate' has 31 images.*Use at most 30"):
        Caltech101(data_dir, real_cache, train_per_class=31)


@pytest.mark.parametrize(
    ("drop_faces", "classes"),
    [("Faces_easy", ["Faces", "ant"]), ("Faces", ["Faces_easy", "ant"]), ("none", ["Faces", "Faces_easy", "ant"])],
)
def test_torchvisions_layout_and_dropped_classes(
    make_tree: Callable[..., Path], cache_dir: Path, drop_faces: str, classes: list[str]
) -> None:
    counts = {"Faces": 4, "Faces_easy": 4, "ant": 5, "BACKGROUND_Google": 9}
    root = make_tree("caltech101", {f"101_ObjectCategories/{cls}": n for cls, n in counts.items()})
    (root / "Annotations" / "ant").mkdir(parents=True)
    for options in ({"data_dir": root.parent}, {"data_dir": None, "path": str(root)}):
        data_dir = options.pop("data_dir")
        data = Caltech101(data_dir, cache_dir, drop_faces=drop_faces, train_per_class=3, test_per_class=1, **options)
        assert data.classes == classes
        assert (len(data.train), len(data.test)) == (3 * len(classes), len(classes))
