"""CUB-200-2011: birds."""

from __future__ import annotations

from pathlib import Path

from hdx.datasets._given import Given, GivenSplits, contents_of, lines_of
from hdx.errors import DataError


class Cub200(GivenSplits):
    """11,788 photographs of 200 kinds of birds, 5,994 of them for training.

    Source: Wah et al. 2011, The Caltech-UCSD Birds-200-2011 Dataset
    """

    licence = "for non-commercial research"
    looked_for = {"path": ("CUB_200_2011", "CUB_200_2011.zip", "cub200", "cub200.zip")}
    n_classes = 200

    def _given(self, place: Path) -> Given:
        contents = contents_of(place)
        above, names = lines_of(contents, "images.txt")
        tables = {name: dict(line.split(" ", 1) for line in lines_of(contents, f"{name}.txt")[1]) for name in TABLES}
        files = dict(line.split(" ", 1) for line in names)
        for name, table in tables.items():
            if name != "classes" and (missing := files.keys() - table.keys()):
                raise DataError(f"{place}: {name}.txt has no line for image {min(missing)} ({files[min(missing)]})")
        parts: list[list[tuple[str, int]]] = [[], []]
        for number, file in files.items():
            train = tables["train_test_split"][number] == "1"
            parts[0 if train else 1].append((f"{above}images/{file}", int(tables["image_class_labels"][number]) - 1))
        return Given(contents, list(tables["classes"].values()), parts[0], parts[1])


TABLES = ("classes", "image_class_labels", "train_test_split")
