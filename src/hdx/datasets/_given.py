"""Datasets of image files whose splits are given: what a subclass finds becomes a train and a test split."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._decode import Decoder
from hdx.datasets._find import locate
from hdx.datasets._listing import in_order, list_classes, top_folder
from hdx.datasets._sets import image_sets
from hdx.datasets._splits import stratified
from hdx.datasets._tree import Contents, Files
from hdx.errors import DataError
from hdx.options import FilePath, OpenFraction, PositiveFloat, PositiveInt, Seed, Unhashed

Samples = Sequence[tuple[str, int]]
Fit = Literal["crop", "squash", "pad"]
Storage = Literal["auto", "memory", "disk"]


@dataclass
class Given:
    """What the files of a dataset say.

    Attributes:
        contents: the tree.
        classes: names, in the order of the labels.
        train, test: name and label of each image.
        groups, domains, class_splits: as of `Dataset`.
        domain_of: the index of each image's domain, by its name.
    """

    contents: Contents
    classes: list[str]
    train: Samples
    test: Samples
    groups: list[str] | None = None
    domains: list[str] | None = None
    domain_of: Mapping[str, int] | None = None
    class_splits: dict[str, np.ndarray] | None = None


class GivenSplits(Dataset):
    """Image files with given splits. Subclasses say where they look (`looked_for`) and what is there (`_given`).

    Args:
        path: the folder or the .zip; null looks under data_dir.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        self._take(path, image_size, fit, storage, memory_gb)

    def _take(self, path: str | None, image_size: int, fit: Fit, storage: Storage, memory_gb: float) -> None:
        """Read what there is. Raises: DataError where it is not what is published."""
        given = self._given(locate(self.called, self.data_dir, path, self.looked_for.get("path", ())))
        listing = in_order(given.contents, given.classes, [*given.train, *given.test])
        n_train = len(given.train)
        parts = (np.arange(n_train), np.arange(n_train, len(listing)))
        decoder = Decoder(size=image_size, colour="rgb", fit=fit)
        splits = [(rows, listing.labels[rows]) for rows in parts]
        self.train, self.test = image_sets(
            self.called, self.cache_dir, listing, decoder, splits, storage=storage, memory_gb=memory_gb
        )
        self.classes, self.groups = given.classes, given.groups
        self.domains, self.class_splits = given.domains, given.class_splits
        if given.domain_of is not None:
            for images in (self.train, self.test):
                images.domains = np.array([given.domain_of[name] for name in images.names or ()], dtype=np.int64)

    @abstractmethod
    def _given(self, place: Path) -> Given:
        """What is in the folder or .zip. Raises: DataError saying what was expected and what is there."""


class DrawnSplit(GivenSplits):
    """Image files without a published split of the images: one is drawn.

    Args:
        path: the folder or the .zip; null looks under data_dir.
        test_fraction: share of each class that is the test split.
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        test_fraction: OpenFraction = 0.2,
        split_seed: Seed = 0,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._test_fraction, self._split_seed = test_fraction, split_seed
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _given(self, place: Path) -> Given:
        contents = contents_of(place)
        given = self._labelled(contents)
        given.train, given.test = divided(given.train, given.classes, self._test_fraction, self._split_seed)
        return given

    def _labelled(self, contents: Contents) -> Given:
        """All images as the train split: by default those of class folders."""
        listing = list_classes(contents, unders=[top_folder(contents.images)])
        return Given(contents, listing.classes, list(zip(listing.names, listing.labels.tolist())), [])


def lines_of(contents: Contents, end: str) -> tuple[str, list[str]]:
    """What stands before a text file's name in a tree, and its lines that are not empty. Raises: DataError without one."""
    found = [name for name in contents.others if f"/{name}".endswith(f"/{end}")]
    if len(found) != 1:
        what = f"has no {end}" if not found else f"has {len(found)} files {end} ({found[0]}, {found[1]})"
        raise DataError(f"{contents.files.path} {what}. Give the folder as its authors publish it")
    text = contents.files.read(found[0]).decode("utf-8", "replace")
    return found[0].removesuffix(end), [line.strip() for line in text.splitlines() if line.strip()]


def contents_of(place: Path) -> Contents:
    """What a folder or .zip holds."""
    return Files(place).contents()


def divided(samples: Samples, classes: list[str], test_fraction: float, split_seed: int) -> tuple[Samples, Samples]:
    """Train and test: `test_fraction` of each class is the test split."""
    labels = np.array([label for _, label in samples], dtype=np.int64)
    train, test = stratified(labels, classes, test_fraction, split_seed)
    return [samples[i] for i in train], [samples[i] for i in test]
