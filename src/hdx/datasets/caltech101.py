"""Caltech-101: photographs of 101 kinds of objects."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hdx.datasets._base import Dataset
from hdx.datasets._decode import Decoder
from hdx.datasets._find import locate
from hdx.datasets._listing import list_classes, top_folder
from hdx.datasets._sets import image_sets
from hdx.datasets._splits import per_class
from hdx.datasets._tree import Files
from hdx.options import FilePath, PositiveFloat, PositiveInt, Seed, Unhashed

FOLDER = "101_ObjectCategories"


class Caltech101(Dataset):
    """Photographs of 100 kinds of objects (101 with both Faces classes), 31 to 800 a class, colour.

    Source: Fei-Fei, Fergus and Perona 2004, Learning generative visual models from few training examples

    `Faces` and `Faces_easy` show the same photographs, so one is left out; BACKGROUND_Google always is. The split is the
    usual protocol of 30 training and at most 50 test images a class, fixed by `split_seed`; the smallest class has 31.

    Args:
        path: caltech101.zip, or the folder of class folders; null looks under data_dir.
        drop_faces: which of the two classes of the same photographs is left out.
        train_per_class: training images of each class.
        test_per_class: test images of each class, at most; small classes have fewer.
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "CC BY 4.0"
    looked_for = {"path": ("caltech101.zip", "caltech101/101_ObjectCategories", "101_ObjectCategories", "caltech101")}
    known = {"caltech101.zip": "a4ea7ac75fc8a9859a55a28abb542a961c49afca7e9bec9325a1a2c3525f105e"}

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        drop_faces: Literal["Faces_easy", "Faces", "none"] = "Faces_easy",
        train_per_class: PositiveInt = 30,
        test_per_class: PositiveInt = 50,
        split_seed: Seed = 0,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        contents = Files(locate("caltech101", data_dir, path, self.looked_for["path"])).contents()
        above = contents.above(FOLDER)
        under = top_folder(contents.images) if above is None else f"{above}{FOLDER}/"
        listing = list_classes(contents, unders=[under], drop={"BACKGROUND_Google", drop_faces})
        self.classes = listing.classes
        splits = [
            (rows, listing.labels[rows])
            for rows in per_class(listing.labels, listing.classes, train_per_class, test_per_class, split_seed)
        ]
        decoder = Decoder(size=image_size, colour="rgb", fit=fit)
        self.train, self.test = image_sets(
            "caltech101", cache_dir, listing, decoder, splits, storage=storage, memory_gb=memory_gb
        )
