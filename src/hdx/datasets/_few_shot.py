"""Sets for few-shot learning: their classes are split, into base, validation and novel ones."""

from __future__ import annotations

import csv

import numpy as np

from hdx.datasets._given import DrawnSplit, Given, lines_of
from hdx.datasets._tree import Contents
from hdx.errors import DataError

SPLITS = {"base": "train", "validation": "val", "novel": "test"}


class SplitClasses(DrawnSplit):
    """Images with the field's three lists (train.csv, val.csv and test.csv, `filename,label`), or in folders of those names.

    The split of the classes is the published one; that of the images of each class is drawn.
    """

    def _labelled(self, contents: Contents) -> Given:
        listed = all(any(f"/{name}".endswith(f"/{part}.csv") for name in contents.others) for part in SPLITS.values())
        found = {split: (_of_csv if listed else _of_folder)(contents, part) for split, part in SPLITS.items()}
        owner: dict[str, str] = {}
        for split, images in found.items():
            for cls in sorted(set(images.values())):
                if owner.setdefault(cls, split) != split:
                    raise DataError(f"{contents.files.path}: class '{cls}' is a {owner[cls]} and a {split} class. Keep one")
        classes = list(owner)  # base classes first, then validation, then novel ones
        samples = [(name, classes.index(cls)) for images in found.values() for name, cls in sorted(images.items())]
        splits = {split: np.array([i for i, cls in enumerate(classes) if owner[cls] == split], np.int64) for split in SPLITS}
        return Given(contents, classes, samples, [], class_splits=splits)


def _of_csv(contents: Contents, part: str) -> dict[str, str]:
    """The class of each image of a list."""
    below = {name.rpartition("/")[2]: name for name in contents.images}
    rows = list(csv.DictReader(lines_of(contents, f"{part}.csv")[1]))
    if not rows or not {"filename", "label"} <= rows[0].keys():
        raise DataError(f"{contents.files.path}: {part}.csv has not the columns filename and label")
    return {below.get(row["filename"], row["filename"]): row["label"] for row in rows}


def _of_folder(contents: Contents, part: str) -> dict[str, str]:
    """The class of each image below a folder of that name."""
    above = contents.above(part)
    if above is None:
        raise DataError(f"{contents.files.path} has neither {part}.csv nor a folder {part}/ with a folder a class in it")
    top = f"{above}{part}/"
    inside = {name: name[len(top) :].split("/") for name in contents.images if name.startswith(top)}
    return {name: parts[0] for name, parts in inside.items() if len(parts) > 1}
