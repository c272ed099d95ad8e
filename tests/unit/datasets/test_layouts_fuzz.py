"""Layouts that data come in, made by a program: the right classes, splits and pixels, or one line; never a wrong class list."""

from __future__ import annotations

import itertools
import logging
from pathlib import Path

import pytest
from tests.unit.datasets.trees import FORMS, given, write

from hdx.datasets.folder import Folder
from hdx.errors import DataError

TRAIN = ["train", "Train", "TRAIN", "training", "train_set", "trainset", "training_set", "train2017", "images_train", "trainval"]
TEST = [
    "test",
    "TEST",
    "testing",
    "test_set",
    "testset",
    "val",
    "VAL",
    "valid",
    "validation",
    "eval",
    "dev",
    "Dev-Set",
    "val2017",
]
CLASSES = ["cat", "dog"]


def images(*folders: str, n: int = 3) -> list[str]:
    return [f"{folder}/{i}.png" for folder in folders for i in range(n)]


def split(name: str, classes: list[str] = CLASSES, n: int = 3) -> list[str]:
    return images(*(f"{name}/{cls}" for cls in classes), n=n)


def read(path: Path, **options: object) -> Folder:
    return Folder(None, path.parent / "cache", path=str(path), **{"image_size": 4, "storage": "disk", **options})


def expect(path: Path, train: list[str], test: list[str], level: int = -2, classes: list[str] = CLASSES) -> None:
    """These images in each split, of the class that the folder `level` of their name is."""
    data = read(path)
    assert data.classes == sorted(classes)
    assert given(data) == {
        "train": {name: name.split("/")[level] for name in train},
        "test": {name: name.split("/")[level] for name in test},
    }


def expect_drawn(path: Path, names: list[str], level: int = -2) -> None:
    """These images and no others, divided by hdx."""
    data = read(path)
    found = given(data)
    assert found["train"] | found["test"] == {name: name.split("/")[level] for name in names}
    assert set(found["train"].values()) == set(found["test"].values()) == set(data.classes)
    assert not found["train"].keys() & found["test"].keys()


def refused(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(("train", "test"), [*itertools.product(TRAIN[:3], TEST), *itertools.product(TRAIN[3:], TEST[:6:5])])
def test_two_splits(train: str, test: str, tmp_path: Path) -> None:
    form = FORMS[(TRAIN.index(train) * len(TEST) + TEST.index(test)) % len(FORMS)]
    path = write(tmp_path / "x", [*split(train), *split(test, n=1), "README.md"], form)
    expect(path, split(train), split(test, n=1))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("words", [("train", "valid", "test"), ("Training", "Validation", "Testing"), ("train", "dev", "test")])
def test_three_splits(form: str, words: tuple[str, str, str], tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    train, validation, test = words
    path = write(tmp_path / "x", [*split(train), *split(validation, n=2), *split(test, n=1)], form)
    with caplog.at_level(logging.WARNING, "hdx"):
        expect(path, split(train), split(test, n=1))
    assert f"left out: 4 images of the validation split in {validation}/ (first: " in caplog.text


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("test", ["test", "test1", "Test", "test_images", "test/test", "test/images", "unlabeled", "valid"])
def test_a_flat_test_folder_is_unlabelled(form: str, test: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x", [*split("train"), *images(test, n=9)], form)
    with caplog.at_level(logging.WARNING, "hdx"):
        expect_drawn(path, split("train"))
    assert f"left out: 9 images without labels in {test.partition('/')[0]}/" in caplog.text
    assert "dataset.test_fraction of it is the test split" in caplog.text


@pytest.mark.parametrize("form", FORMS)
def test_a_flat_test_folder_beside_a_validation_split(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "x", [*split("train"), *split("val", n=1), *images("test")], form)
    expect(path, split("train"), split("val", n=1))


@pytest.mark.parametrize("stray", ["stray.png", "train/stray.png", "test/stray.png", "train/Thumbs.db", "train/cat/x.heic"])
@pytest.mark.parametrize("form", FORMS)
def test_a_stray_file_changes_no_split(form: str, stray: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = write(tmp_path / "x", [*split("train"), *split("test", n=1), stray], form)
    with caplog.at_level(logging.WARNING, "hdx"):
        expect(path, split("train"), split("test", n=1))
    assert (f"{stray})" in caplog.text) == (not stray.endswith(".db"))


@pytest.mark.parametrize("top", ["", "data/", "my/own/", "images/"])
@pytest.mark.parametrize("names", [CLASSES, ["0", "1", "10", "2"], ["a", "A"], ["café", "猫", "with space"], ["train", "plane"]])
def test_classes_alone(top: str, names: list[str], tmp_path: Path) -> None:
    names = images(*(f"{top}{name}" for name in names))
    expect_drawn(write(tmp_path / "x", names), names)


def test_numeric_names_are_in_the_order_of_text(tmp_path: Path) -> None:
    assert read(write(tmp_path / "x", images("0", "1", "10", "2"))).classes == ["0", "1", "10", "2"]


@pytest.mark.parametrize("words", [("seg_train", "seg_test", "seg_pred"), ("flowers-train", "flowers-val", "flowers-predict")])
def test_splits_with_the_same_word_beside_them_and_twice(words: tuple[str, str, str], tmp_path: Path) -> None:
    train, test, other = (f"{word}/{word}" for word in words)
    path = write(tmp_path / "x", [*split(train), *split(test, n=1), *images(other)])
    expect(path, split(train), split(test, n=1))


@pytest.mark.parametrize("words", [("train", "test"), ("Train", "Val"), ("training", "valid")])
@pytest.mark.parametrize("form", FORMS)
def test_splits_below_classes(words: tuple[str, str], form: str, tmp_path: Path) -> None:
    train, test = (images(*(f"{cls}/{word}" for cls in CLASSES)) for word in words)
    expect(write(tmp_path / "x", [*train, *test], form), train, test, level=0)


def test_deeper_folders_belong_to_their_class(tmp_path: Path) -> None:
    names = images("cat/day", "cat/night", "dog")
    expect_drawn(write(tmp_path / "x", names), names, level=0)


@pytest.mark.parametrize("only", ["train", "Test", "val", "data/train"])
def test_one_split_alone_is_divided(only: str, tmp_path: Path) -> None:
    expect_drawn(write(tmp_path / "x", split(only)), split(only))


@pytest.mark.parametrize("form", FORMS)
def test_a_picture_above_the_only_folder_is_a_stray(form: str, tmp_path: Path) -> None:
    expect_drawn(write(tmp_path / "x", ["preview.png", *split("data")], form), split("data"))


REFUSED = {
    "flat train and test": [*images("train", "test"), "train.csv"],
    "flat train and val": images("train", "val"),
    "flat train and labelled test": [*images("train"), *split("test")],
    "flat and other": images("train", "test", "plane"),
    "flat train and images": images("train", "images"),
    "mostly strays": [*images("train", n=30), *split("train", n=1), *split("test")],
    "empty test": [*split("train"), "test/"],
    "empty test with a text": [*split("train"), "test/readme.txt"],
    "empty train": ["train/", *split("test")],
    "no train": [*split("val"), *split("test")],
    "two trains": [*split("train"), *split("Train"), *split("test")],
    "two tests": [*split("train"), *split("test"), *split("Test")],
    "folds": [*split("fold1"), *split("fold2"), *split("fold3")],
    "a class only in test": [*split("train"), *split("test", ["cat", "emu"])],
    "another case in test": [*split("train"), *split("test", ["Cat", "dog"])],
    "yolo": [*images("images/train", "images/val"), "labels/train/0.txt"],
    "images and masks": images("images", "masks"),
    "half divided classes": images("cat/train", "cat/test", "dog"),
    "folds above splits": [*split("a/train"), *split("a/test"), *split("b/train"), *split("b/test")],
    "an archive inside": ["train.zip", "test.zip"],
    "a packed test": [*split("train"), "test.tar.gz"],
    "no image": ["cat/a.txt", "dog/b.heic"],
    "nothing": ["empty/"],
    "flat": ["a.png", "b.png"],
    "one class": images("cat"),
    "an empty class": [*images("cat", "dog"), "emu/"],
    "a class of other files": [*images("cat", "dog"), "emu/a.heic"],
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("kind", REFUSED)
def test_refused_with_one_line(kind: str, form: str, tmp_path: Path) -> None:
    if kind == "images and masks" and form == "zip in a folder":
        form = "zip"
    line = refused(write(tmp_path / "x", REFUSED[kind], form))
    assert str(tmp_path) in line


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("flat train and test", "give dataset.train_list=…"),
        ("empty test", "test/ has no images"),
        ("another case in test", "'Cat' has images in test/ but none in train/ of .*'cat' is spelled otherwise"),
        ("a class only in test", "class 'emu' has images in test/ but none in train/"),
        ("folds", "fold1/, fold2/, fold3/: folds, and no classes"),
        ("a packed test", "'test.tar.gz' is an archive inside"),
        ("a class of other files", "class folder 'emu' in .* has no images .but 1 .heic files"),
    ],
)
def test_what_a_refusal_says(kind: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said):
        read(write(tmp_path / "x", REFUSED[kind]))


def test_no_zip_at_all_is_refused(tmp_path: Path) -> None:
    for name in ("x.tar", "x.tar.gz", "x.7z", "x.png"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
        assert "Give a folder or a .zip; unpack other archives" in refused(tmp_path / name)


def test_names_that_look_alike_are_two_classes_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hdx"):
        expect_drawn(write(tmp_path / "x", images("Cat", "cat", "dog")), images("Cat", "cat", "dog"))
    assert "'Cat' and 'cat' are classes of their own" in caplog.text


def test_hidden_images_are_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    names = images("cat", "dog")
    with caplog.at_level(logging.WARNING, "hdx"):
        data = read(
            write(tmp_path / "x", [*names, ".net/1.png", "cat/.ipynb_checkpoints/1.png", "cat/._0.png", "cat/desktop.ini"])
        )
    assert sorted({**given(data)["train"], **given(data)["test"]}) == names
    assert "left out: 2 hidden images (first: .net/1.png)" in caplog.text
    assert data.notes == {"left_out": {"hidden images": 2}}


def test_links_are_followed(tmp_path: Path) -> None:
    elsewhere = write(tmp_path / "elsewhere", images("dog"))
    root = write(tmp_path / "x", images("cat"))
    (root / "dog").symlink_to(elsewhere / "dog")
    (root / "cat" / "again").symlink_to(root)
    expect_drawn(root, images("cat", "dog"))
