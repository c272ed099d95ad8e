"""Splits and labels from files, however people write them."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from tests.unit.datasets.trees import given, write

from hdx.datasets.folder import Folder
from hdx.errors import ConfigError, DataError

IMAGES = ["images/a.png", "images/b c.png", "images/d.png", "images/e.png", "images/f,g.png", "images/h.png", "images/spare.png"]
TRAIN = {"images/a.png": "cat", "images/b c.png": "dog", "images/d.png": "cat", "images/e.png": "dog"}
TEST = {"images/f,g.png": "cat", "images/h.png": "dog"}
BOTH = {"train": TRAIN, "test": TEST}


def load(root: Path, **options: object) -> Folder:
    return Folder(None, root.parent / "cache", path=str(root), **{"image_size": 4, "storage": "disk", **options})


def lists(folder: Path, train: str, test: str | None, kind: str = "csv") -> dict[str, str]:
    paths = {}
    for name, text in (("train", train), ("test", test)):
        if text is not None:
            (folder / f"{name}.{kind}").write_text(text, "utf-8")
            paths[f"{name}_list"] = str(folder / f"{name}.{kind}")
    return paths


def quoted(cell: str) -> str:
    return f'"{cell}"' if "," in cell else cell


WAYS = {
    "path and label": lambda rows: "\n".join(f"{quoted(name)},{label}" for name, label in rows.items()),
    "header": lambda rows: "image,label\n" + "\n".join(f"{quoted(name)},{label}" for name, label in rows.items()) + "\n",
    "label first": lambda rows: "label,path\n" + "\n".join(f"{label},{quoted(name)}" for name, label in rows.items()),
    "base names": lambda rows: "\n".join(f"{quoted(name[7:])},{label}" for name, label in rows.items()),
    "no endings": lambda rows: "id,breed\n" + "\n".join(f"{quoted(name[7:-4])},{label}" for name, label in rows.items()),
    "dots": lambda rows: "\n".join(f"{quoted('./' + name)},{label}" for name, label in rows.items()),
    "semicolons": lambda rows: "\n".join(f"{name};{label}" for name, label in rows.items()),
    "tabs": lambda rows: "\n".join(f"{name}\t{label}" for name, label in rows.items()),
    "spaces": lambda rows: "\n".join(f"{name} {label}" for name, label in rows.items()),
    "backslashes": lambda rows: "\n".join(f"images\\{name[7:]};{label}" for name, label in rows.items()),
    "of another machine": lambda rows: "\n".join(f"/home/me/data/{name};{label}" for name, label in rows.items()),
    "of a windows machine": lambda rows: "\n".join(f"C:\\me\\images\\{name[7:]};{label}" for name, label in rows.items()),
    "windows lines": lambda rows: "".join(f"{quoted(name)},{label}\r\n" for name, label in rows.items()),
    "mark of excel": lambda rows: "\ufeffpath,class\n" + "\n".join(f"{quoted(name)},{label}" for name, label in rows.items()),
    "more columns": lambda rows: (
        "index,path,width,label,split\n"
        + "\n".join(f"{i},{quoted(name)},4,{label},x" for i, (name, label) in enumerate(rows.items()))
    ),
    "one column a class": lambda rows: (
        "image,cat,dog\n"
        + "\n".join(f"{quoted(name)},{1.0 * (lab == 'cat')},{1.0 * (lab == 'dog')}" for name, lab in rows.items())
    ),
}


@pytest.mark.parametrize("form", ["folder", "zip", "zip of windows"])
@pytest.mark.parametrize("way", WAYS)
def test_ways_to_write_a_list(way: str, form: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root = write(tmp_path / "x", IMAGES, form)
    with caplog.at_level(logging.WARNING, "hdx"):
        data = load(root, **lists(tmp_path, WAYS[way](TRAIN), WAYS[way](TEST)))
    assert data.classes == ["cat", "dog"]
    assert given(data) == BOTH
    assert "left out: 1 images that no list names (first: images/spare.png)" in caplog.text


def test_lists_of_paths_take_the_class_folders(tmp_path: Path) -> None:
    names = [f"{cls}/{i}.png" for cls in ("cat", "dog") for i in range(4)]
    root = write(tmp_path / "x", names)
    train, test = ([name for name in names if (name[-5] in "01") == first] for first in (True, False))
    ways = ({}, {"kind": "txt"})
    for way in ways:
        data = load(root, **lists(tmp_path, "\n".join(train), "\n".join(name[:-4] for name in test), **way))
        assert given(data) == {"train": {n: n[:3] for n in train}, "test": {n: n[:3] for n in test}}


def test_a_list_inside_the_zip(tmp_path: Path) -> None:
    root = write(tmp_path / "x", IMAGES)
    lists(root, WAYS["header"](TRAIN), WAYS["header"](TEST))
    assert given(load(root, train_list="train.csv", test_list="test.csv")) == BOTH
    with pytest.raises(DataError, match="dataset.train_list=no.csv does not exist, neither here nor in"):
        load(root, train_list="no.csv")


def test_a_train_list_alone_is_divided(tmp_path: Path) -> None:
    data = load(write(tmp_path / "x", IMAGES), **lists(tmp_path, WAYS["header"](TRAIN | TEST), None))
    found = given(data)
    assert found["train"] | found["test"] == TRAIN | TEST
    assert sorted(found["test"].values()) == ["cat", "dog"]


def test_a_column_of_splits_divides(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [f"{name};{label};{split}" for split, part in BOTH.items() for name, label in part.items()]
    text = "\n".join(["file;label;set", *rows, "images/spare.png;cat;valid"])
    with caplog.at_level(logging.WARNING, "hdx"):
        data = load(write(tmp_path / "x", IMAGES), **lists(tmp_path, text, None))
    assert given(data) == BOTH
    assert "left out: 1 images of the validation split (first: images/spare.png)" in caplog.text


def test_the_same_names_in_both_splits(tmp_path: Path) -> None:
    root = write(tmp_path / "x", [f"{split}/{i}.png" for split in ("train", "test") for i in range(4)])
    text = "\n".join(f"{i}.png,{'ab'[i % 2]}" for i in range(4))
    data = load(root, **lists(tmp_path, text, text))
    assert {split: sorted(part) for split, part in given(data).items()} == {
        split: [f"{split}/{i}.png" for i in range(4)] for split in ("train", "test")
    }


@pytest.mark.parametrize(
    ("train", "test", "said"),
    [
        ("images/a.png,cat\nimages/no.png,dog", None, "1 of 2 lines name no image, or several .first: line 2: 'images/no.png'"),
        ("no.png,dog\nimages/a.png,cat", None, "1 of 2 lines name no image"),
        ("images/a.png,cat\nimages/a.png,dog", None, "'images/a.png' has two labels, 'cat' and 'dog'"),
        ("images/a.png,cat\nimages/d.png,dog", "images/a.png,cat", "'images/a.png' is in train and in test"),
        ("images/a.png,cat\nimages/d.png,dog", "images/e.png,emu", "class 'emu' has images in dataset.test_list"),
        ("images/a.png,cat\nimages/d.png,", None, "line 2 has no label"),
        ("images/a.png,cat,1\nimages/d.png,dog,2", None, "which column is the label"),
        ("f,cat,dog\nimages/a.png,1,1\nimages/d.png,0,1", None, "line 2 marks 2 classes, expected 1"),
        ("images/a.png,cat\nimages/d.png,dog,1", None, "line 2 has another number of cells"),
        ("", None, "is empty"),
        ("images/a.png\nimages/d.png", None, "in no class folder, and its list has no labels|no class"),
        ("images/a.png,cat\nimages/d.png,cat", None, "at least 2 classes"),
    ],
)
def test_lists_that_are_refused(train: str, test: str | None, said: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=said) as caught:
        load(write(tmp_path / "x", IMAGES), **lists(tmp_path, train, test))
    assert "\n" not in str(caught.value)


def test_no_text_and_no_train_list(tmp_path: Path) -> None:
    root = write(tmp_path / "x", IMAGES)
    (tmp_path / "bad.csv").write_bytes("images/a.png,café".encode("latin-1"))
    with pytest.raises(DataError, match="is no text in UTF-8"):
        load(root, train_list=str(tmp_path / "bad.csv"))
    with pytest.raises(ConfigError, match="dataset.test_list: expected dataset.train_list beside it"):
        load(root, test_list=str(tmp_path / "bad.csv"))


def test_a_repeated_line_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = WAYS["header"](TRAIN) + "images/a.png,cat\n"
    with caplog.at_level(logging.WARNING, "hdx"):
        assert given(load(write(tmp_path / "x", IMAGES), **lists(tmp_path, text, WAYS["header"](TEST)))) == BOTH
    assert "1 lines repeat an image and its label" in caplog.text
