"""Any folder or .zip of class folders."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._decode import Decoder, all_grey
from hdx.datasets._find import locate
from hdx.datasets._layout import Layout
from hdx.datasets._listing import alike_classes
from hdx.datasets._lists import from_lists
from hdx.datasets._recognise import recognise
from hdx.datasets._sets import Source, require_two_classes
from hdx.datasets._splits import stratified
from hdx.datasets._tree import Contents, Files
from hdx.errors import ConfigError, DataError
from hdx.options import FilePath, NonNegativeInt, OpenFraction, PositiveFloat, PositiveInt, Seed, Unhashed
from hdx.rules import ANY, needed, only_when

logger = logging.getLogger("hdx")


class Folder(Dataset):
    """A folder or a .zip of class folders, read in place; given splits (train/ beside test/ or valid/, or lists) are used.

    Source: your own images; the layout is that of torchvision's ImageFolder

    Labels follow the sorted class names. Folders inside a class folder belong to the class. Folders are splits by their names, in
    either case: train, training, trainval; test, testing; val, valid, validation, dev, eval; also with a word beside them, as in
    test_set or seg_train. Where both are there, test/ is the test split and the validation split is left out; a test/ without
    class folders is unlabelled and left out. Splits below the classes (`<class>/train/<image>`) are read as well. Anything else
    that names splits is refused. What is left out is counted in one line and in the run record. Images are the files that the
    installed Pillow decodes, by their endings; hidden files are left out.

    A list is a text or .csv with the path and the label of an image on each line, in any order of columns, with or without a
    header, a .csv of one column a class with a 1, or paths alone; paths may be of the data's root, of any folder in it, and
    without the ending of the file. A column that says train, test (or val) is the split where there is no test_list.

    Levels of 16 bits and floats are scaled by the range that the file states, else by that of the set, which is said: the usual
    one (8 to 16 bits, 0 to 1, 0 to 255) that holds them where they fill a quarter of it, else from the lowest to the highest.

    Args:
        path: the folder or .zip; required.
        train_list: file that lists the training images, here or inside the data; null takes the folders.
        test_list: file that lists the test images; null with a train_list takes test_fraction of that.
        test_fraction: share of each class that is the test split, where the data have none of their own.
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        colour: rgb, grey, or auto: grey when none of 256 images spread over the tree is stored in colour.
        background: what lies behind transparent pixels.
        skip_broken: so many files that cannot be read are left out, as if they were not there; more are refused, all named.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "that of your images"
    rules = (
        needed("path", "dataset.path=DIR or dataset.path=FILE.zip, with a folder a class"),
        only_when("test_list", train_list=ANY, why="has no training split without dataset.train_list", fix="give that as well"),
    )
    looked_for: ClassVar[dict[str, tuple[str, ...]]] = {"path": ()}

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        train_list: FilePath | None = None,
        test_list: FilePath | None = None,
        test_fraction: OpenFraction = 0.2,
        split_seed: Seed = 0,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        colour: Literal["auto", "rgb", "grey"] = "auto",
        background: Literal["white", "grey", "black"] = "white",
        skip_broken: NonNegativeInt = 0,
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        if path is None:
            raise ConfigError("dataset.path: dataset 'folder' needs the folder or .zip of class folders  (dataset.path=…)")
        if test_list is not None and train_list is None:
            raise ConfigError("dataset.test_list: expected dataset.train_list beside it, got none  (dataset.train_list=…)")
        contents = Files(locate("folder", data_dir, path, [])).contents()
        layout = recognise(contents) if train_list is None else from_lists(contents, train_list, test_list)
        _say(contents, layout)
        listing = layout.listing
        rows = _rows(layout, test_fraction, split_seed)
        require_two_classes("folder", layout.listing.labels[rows[0]], layout.listing)
        if colour == "auto":
            colour = "grey" if all_grey(layout.listing.files, layout.listing.names) else "rgb"
        decoder = Decoder(size=image_size, colour=colour, fit=fit, background=background)
        source = Source(
            "folder", cache_dir, layout.listing, decoder, storage=storage, memory_gb=memory_gb, skip_broken=skip_broken
        )
        if len(source.listing) < len(layout.listing):  # the split is that of the data without the broken files
            layout = layout.without(set(layout.listing.names) - set(source.listing.names))
            rows = _rows(layout, test_fraction, split_seed)
        listing = layout.listing
        source.say(rows)
        self.classes, self.notes = listing.classes, _notes(layout) | source.notes
        self.train, self.test = source.sets([(part, listing.labels[part]) for part in rows])


def _rows(layout: Layout, test_fraction: float, split_seed: int) -> tuple[np.ndarray, np.ndarray]:
    """The given split, or one that is drawn."""
    if layout.in_test is not None:
        return _checked(layout, np.flatnonzero(~layout.in_test), np.flatnonzero(layout.in_test))
    return stratified(layout.listing.labels, layout.listing.classes, test_fraction, split_seed)


def _notes(layout: Layout) -> dict[str, Any]:
    counts = layout.left_out.notes()
    return {"left_out": counts} if counts else {}


def _say(contents: Contents, layout: Layout) -> None:
    """What a user should know of how the files were read, a line for each kind of thing."""
    path, listing = contents.files.path, layout.listing
    for how in contents.mended:
        logger.warning("%s: %s", path, how)
    for line in layout.said:
        logger.warning("%s: %s", path, line)
    if left_out := str(layout.left_out):
        logger.warning("%s: left out: %s", path, left_out)
    if alike := alike_classes(listing.classes):
        text = "%s: %s are classes of their own, though their names look alike (%d such in all)"
        logger.warning(text, path, " and ".join(f"'{cls}'" for cls in alike[0]), len(alike))
    if spelled := listing.spellings(contents):
        logger.warning("%s: %s", path, spelled)


def _checked(layout: Layout, train: np.ndarray, test: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The given splits. Raises: DataError naming a class that only the test split has."""
    listing, (train_name, test_name) = layout.listing, layout.splits
    in_train, in_test = set(listing.labels[train].tolist()), set(listing.labels[test].tolist())
    if only := [listing.classes[i] for i in sorted(in_test - in_train)]:
        more = f" (and {len(only) - 1} more)" if len(only) > 1 else ""
        alike = [cls for pair in alike_classes(listing.classes) if only[0] in pair for cls in pair if cls != only[0]]
        hint = f" ('{alike[0]}' is spelled otherwise there)" if alike else ""
        where = f"has images in {test_name} but none in {train_name} of {listing.files.path}{hint}"
        raise DataError(f"class '{only[0]}'{more} {where}. Add training images or remove it")
    if only := [listing.classes[i] for i in sorted(in_train - in_test)]:
        names = ", ".join(only[:5])
        logger.warning("%d classes have no test images in %s (first: %s)", len(only), listing.files.path, names)
    return train, test
