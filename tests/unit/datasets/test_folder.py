from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hdx.datasets.folder import Folder
from hdx.errors import ConfigError, DataError

MakeTree = Callable[..., Path]
Zipped = Callable[[Path], Path]


def everything(data: Folder) -> list[torch.Tensor]:
    return [split.fetch(np.arange(len(split))) for split in (data.train, data.test)]


def test_zip_and_folder_give_identical_tensors(make_tree: MakeTree, zipped: Zipped, cache_dir: Path) -> None:
    root = make_tree("x", {"top/b": 10, "top/a": 5}, size=(50, 40))
    folder, archive = (Folder(None, cache_dir, path=str(path), image_size=20) for path in (root, zipped(root)))
    assert folder.classes == archive.classes == ["a", "b"]
    assert np.bincount(folder.test.labels).tolist() == [1, 2]
    assert all(map(torch.equal, everything(folder), everything(archive)))
    assert folder.train.digest == archive.train.digest


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("Train", "Val"), ("training", "validation")])
def test_given_splits_are_used(make_tree: MakeTree, cache_dir: Path, train: str, test: str) -> None:
    root = make_tree("x", {f"{train}/a": 4, f"{train}/b": 3, f"{test}/a": 2, f"{test}/b": 1})
    data = Folder(None, cache_dir, path=str(root), image_size=24)
    assert data.classes == ["a", "b"]
    assert data.train.labels.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert data.test.labels.tolist() == [0, 0, 1]
    for split, name, shown in ((data.train, train, [0, 6]), (data.test, test, [0, 2])):
        files = sorted((root / name).rglob("*.jpg"))
        for i in shown:
            expected = np.asarray(Image.open(files[i])).transpose(2, 0, 1)
            assert np.array_equal(split.fetch(np.array([i]))[0].numpy(), expected)


def test_test_is_preferred_to_val_and_says_so(make_tree: MakeTree, cache_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_tree("x", {f"{split}/{cls}": n for split, n in (("train", 5), ("val", 3), ("test", 2)) for cls in "ab"})
    with caplog.at_level(logging.WARNING, "hdx"):
        data = Folder(None, cache_dir, path=str(root))
    assert (len(data.train), len(data.test)) == (10, 4)
    assert "left out: 6 images of the validation split in val/ (first: val/a/000.jpg)" in caplog.text


def test_a_class_called_train_is_a_class(make_tree: MakeTree, cache_dir: Path) -> None:
    data = Folder(None, cache_dir, path=str(make_tree("x", {"train": 5, "car": 5, "plane": 5})))
    assert data.classes == ["car", "plane", "train"]
    with pytest.raises(DataError, match="train/ has 5 images and no class folders"):
        Folder(None, cache_dir, path=str(make_tree("y", {"train": 5, "test": 5, "plane": 5})))


def test_a_class_only_in_test_is_named(make_tree: MakeTree, cache_dir: Path) -> None:
    root = make_tree("x", {"train/a": 3, "train/b": 3, "test/a": 1, "test/zebra": 2})
    with pytest.raises(DataError, match="class 'zebra' has images in test/ but none in train/"):
        Folder(None, cache_dir, path=str(root))


def test_a_class_without_test_images_is_a_warning(make_tree: MakeTree, cache_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_tree("x", {"train/a": 3, "train/b": 3, "test/a": 1})
    with caplog.at_level(logging.WARNING, "hdx"):
        Folder(None, cache_dir, path=str(root))
    assert "1 classes have no test images" in caplog.text


def test_a_corrupt_image_is_named_and_nothing_is_cached(make_tree: MakeTree, zipped: Zipped, cache_dir: Path) -> None:
    root = make_tree("x", {"a": 5, "b": 5})
    (root / "b" / "002.jpg").write_bytes((root / "b" / "002.jpg").read_bytes()[:-200])
    for path in (root, zipped(root)):
        with pytest.raises(DataError, match=r"'b/002\.jpg' in .*truncated"):
            Folder(None, cache_dir, path=str(path))
    assert not list(cache_dir.glob("*"))


def test_one_class_and_one_image(make_tree: MakeTree, cache_dir: Path) -> None:
    with pytest.raises(DataError, match="1 class with 4 training images, but at least 2 classes are needed"):
        Folder(None, cache_dir, path=str(make_tree("x", {"a": 5})))
    with pytest.raises(DataError, match="class 'b' has 1 image"):
        Folder(None, cache_dir, path=str(make_tree("y", {"a": 5, "b": 1})))


def test_copies_are_counted(make_tree: MakeTree, cache_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = make_tree("x", {"a": 5, "b": 5})
    for name in ("copy.jpg", "copy2.jpg"):
        shutil.copy(root / "a" / "000.jpg", root / "b" / name)
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "hdx"):
            Folder(None, cache_dir, path=str(root))
        assert "2 images equal another one pixel for pixel" in caplog.text
        assert "first: b/copy.jpg = a/000.jpg" in caplog.text


@pytest.mark.parametrize(
    ("mode", "colour", "channels"), [("L", "auto", 1), ("RGB", "auto", 3), ("L", "rgb", 3), ("RGB", "grey", 1)]
)
def test_colour(make_tree: MakeTree, cache_dir: Path, mode: str, colour: str, channels: int) -> None:
    root = make_tree("x", {"a": 5, "b": 5}, mode=mode, kind="png")
    data = Folder(None, cache_dir, path=str(root), colour=colour)
    assert data.train.image_shape == (channels, 64, 64)
    assert data.train.fetch(np.array([0, 1])).shape == (2, channels, 64, 64)


def test_a_changed_file_is_decoded_anew(make_tree: MakeTree, cache_dir: Path) -> None:
    root = make_tree("x", {"a": 5, "b": 5})
    before = Folder(None, cache_dir, path=str(root))
    shutil.copy(make_tree("y", {"c": 7}) / "c" / "000.jpg", root / "a" / "000.jpg")
    after = Folder(None, cache_dir, path=str(root))
    assert before.train.digest != after.train.digest
    changed = [(one != two).flatten(1).any(1).sum().item() for one, two in zip(everything(before), everything(after))]
    assert sum(changed) == 1


def test_path_is_required_and_checked(cache_dir: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.path"):
        Folder(tmp_path, cache_dir)
    with pytest.raises(DataError, match="dataset folder: dataset.path=/nowhere does not exist"):
        Folder(tmp_path, cache_dir, path="/nowhere")
