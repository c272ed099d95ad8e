"""Any folder or .zip of class folders."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._decode import Decoder, all_grey
from hdx.datasets._find import locate
from hdx.datasets._listing import Listing, list_classes, top_folder
from hdx.datasets._sets import image_sets
from hdx.datasets._splits import stratified
from hdx.datasets._tree import Files
from hdx.errors import ConfigError, DataError
from hdx.options import OpenFraction, PositiveFloat, PositiveInt

logger = logging.getLogger("hdx")


class Folder(Dataset):
    """A folder or a .zip of class folders, read in place; train/ and test/ (or val/) folders are used where given.

    Source: your own images; the layout is that of torchvision's ImageFolder

    Labels follow the sorted class names. Folders inside a class folder belong to the class. Hidden files and __MACOSX are
    ignored, EXIF orientation is honoured. Where both test/ and val/ stand beside train/, test/ is taken.

    Args:
        path: the folder or .zip; required.
        test_fraction: share of each class that is the test split, where the tree has no train/ and test/ (or val/).
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        colour: rgb, grey, or auto: grey when none of 256 images spread over the tree is stored in colour.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "that of your images"

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: str | None = None,
        test_fraction: OpenFraction = 0.2,
        split_seed: int = 0,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        colour: Literal["auto", "rgb", "grey"] = "auto",
        storage: Literal["auto", "memory", "disk"] = "auto",
        memory_gb: PositiveFloat = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        if path is None:
            raise ConfigError("dataset.path: dataset 'folder' needs the folder or .zip of class folders  (dataset.path=…)")
        contents = Files(locate("folder", data_dir, path, [])).contents()
        top = top_folder(contents.images)
        given = _given_splits(contents.images, top)
        listing = list_classes(contents, unders=given or [top])
        self.classes = listing.classes
        if given:
            in_test = np.array([name.startswith(given[1]) for name in listing.names])
            rows = _checked(listing, np.flatnonzero(~in_test), np.flatnonzero(in_test), given)
        else:
            rows = stratified(listing.labels, listing.classes, test_fraction, split_seed)
        if colour == "auto":
            colour = "grey" if all_grey(listing.files, listing.names) else "rgb"
        decoder = Decoder(size=image_size, colour=colour, fit=fit)
        splits = [(part, listing.labels[part]) for part in rows]
        self.train, self.test = image_sets(
            "folder", cache_dir, listing, decoder, splits, storage=storage, memory_gb=memory_gb, warn_of_copies=True
        )


def _given_splits(names: Iterable[str], top: str) -> list[str] | None:
    """Prefixes of the train and the test split, when the tree has them; a class that is called train is none."""
    below = [name[len(top) :].split("/") for name in names if name.startswith(top)]
    heads = {parts[0] for parts in below if len(parts) > 2} - {parts[0] for parts in below if len(parts) == 2}
    train = next((head for head in sorted(heads) if head.lower() in ("train", "training")), None)
    tests = [head for word in ("test", "testing", "val", "validation") for head in sorted(heads) if head.lower() == word]
    if train is None or not tests:
        return None
    if unused := sorted(heads - {train, tests[0]}):
        logger.warning("folders beside %s/ and %s/ are left out: %s", train, tests[0], ", ".join(unused))
    return [f"{top}{train}/", f"{top}{tests[0]}/"]


def _checked(listing: Listing, train: np.ndarray, test: np.ndarray, given: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """The given splits. Raises: DataError naming a class that only the test split has."""
    in_train, in_test = set(listing.labels[train].tolist()), set(listing.labels[test].tolist())
    if only := sorted(in_test - in_train):
        more = f" (and {len(only) - 1} more)" if len(only) > 1 else ""
        where = f"has images in {given[1]} but none in {given[0]} of {listing.files.path}"
        raise DataError(f"class '{listing.classes[only[0]]}'{more} {where}. Add training images or remove it")
    if only := sorted(in_train - in_test):
        names = ", ".join(listing.classes[i] for i in only[:5])
        logger.warning("%d classes have no test images in %s (first: %s)", len(only), listing.files.path, names)
    return train, test
