"""From a listing of image files to splits, in memory or streamed."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdx import digest
from hdx.datasets._base import ImageSet
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._decode import Decoder, unreadable
from hdx.datasets._listing import Listing
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._stream import Streamed
from hdx.datasets._survey import Survey, needs_a_look, oddities, ranges_of
from hdx.errors import DataError

logger = logging.getLogger("hdx")

Storage = Literal["auto", "memory", "disk"]


def image_sets(
    dataset: str,
    cache_dir: Path,
    listing: Listing,
    decoder: Decoder,
    splits: Sequence[tuple[np.ndarray, np.ndarray]],
    *,
    storage: Storage,
    memory_gb: float,
) -> list[ImageSet]:
    """One ImageSet for each split, all on the same decoded images, which are cached on disk when they fit in memory.

    Args:
        dataset: name, for messages and cache files.
        cache_dir: folder of the cache.
        listing: every image of the dataset; the cache depends on it and not on the splits.
        decoder: how a file becomes an array.
        splits: rows of the listing and labels of each split.
        storage, memory_gb: the options of the same names.

    Raises: DataError for fewer than two classes and for unreadable images, naming them.
    """
    require_two_classes(dataset, splits[0][1], listing)
    source = Source(dataset, cache_dir, listing, decoder, storage=storage, memory_gb=memory_gb)
    if len(source.listing) < len(listing):  # while a check collects the broken files
        splits = [_readable(listing, source.listing, rows, labels) for rows, labels in splits]
    return source.sets(splits)


def _readable(before: Listing, after: Listing, rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the readable images for those of all, without what is broken."""
    at = {name: row for row, name in enumerate(after.names)}
    found = np.array([at.get(before.names[row], -1) for row in rows], dtype=np.int64)
    return found[found >= 0], labels[found >= 0]


_broken: ContextVar[dict[str, str] | None] = ContextVar("broken", default=None)


@contextmanager
def broken_files_collected() -> Iterator[dict[str, str]]:
    """Datasets that are built inside leave out whatever cannot be read, and the dict has it: name to reason."""
    found: dict[str, str] = {}
    token = _broken.set(found)
    try:
        yield found
    finally:
        _broken.reset(token)


class Source:
    """The images of a listing: decoded and cached where they fit in memory, else streamed.

    Args:
        dataset, cache_dir, listing, decoder, storage, memory_gb: as of `image_sets`.
        skip_broken: so many unreadable files are left out; None for datasets without that option.

    Attributes:
        listing: of the readable images.
        notes: what was found, for the run record.

    Raises: DataError naming the unreadable files where they are more than `skip_broken`.
    """

    def __init__(
        self,
        dataset: str,
        cache_dir: Path,
        listing: Listing,
        decoder: Decoder,
        *,
        storage: Storage,
        memory_gb: float,
        skip_broken: int | None = None,
    ) -> None:
        if _broken.get() is not None:
            skip_broken = len(listing)
        n_bytes = len(listing) * int(np.prod(decoder.shape))
        self.streams = storage == "disk" or (storage == "auto" and n_bytes > round(memory_gb * 1e9))
        self.dataset, self.listing, self.decoder = dataset, listing, decoder
        self._pixels: Pixels | None = None
        self._facts: dict[str, Any] = {}
        if not self.streams or skip_broken or needs_a_look(listing):
            what = "survey-" if self.streams else ""
            key = f"{dataset}-{what}{digest.of_json([listing.identity, decoder.describe()])[:24]}"
            self._take(load_or_build(cache_dir, key, lambda: self._survey(skip_broken)), skip_broken or 0)

    def _survey(self, skip_broken: int | None) -> Decoded:
        logger.info("decoding %d images of %s (once)", len(self.listing), self.dataset)
        return Survey(self.listing, self.decoder, keep=not self.streams).decoded(skip_broken)

    def _take(self, decoded: Decoded, skip_broken: int) -> None:
        self._facts = decoded.facts
        broken: dict[str, str] = decoded.facts["broken"]
        if len(broken) > skip_broken:  # found when more of them were allowed
            raise unreadable(self.listing.files, broken, advice=f"Mend them, or dataset.skip_broken={len(broken)}")
        if (collected := _broken.get()) is not None:
            collected |= broken
        self.listing = self.listing.without(broken)
        self.decoder = replace(self.decoder, ranges=ranges_of(decoded.facts["ranges"]))
        if not self.streams:
            self._pixels = Pixels(decoded)

    @property
    def notes(self) -> dict[str, Any]:
        """Plain data: how many files were broken, the ranges of levels, how many pictures are of one colour."""
        facts = self._facts
        found = {"broken": len(facts.get("broken", ())), "flat": len(facts.get("flat", ()))}
        ranges = {kind: [low, high] for kind, (low, high, _) in facts.get("ranges", {}).items()}
        return {key: n for key, n in found.items() if n} | ({"ranges": ranges} if ranges else {})

    def sets(self, splits: Sequence[tuple[np.ndarray, np.ndarray]]) -> list[ImageSet]:
        """An ImageSet for each (rows of `listing`, labels)."""
        sets = [self._set(rows, labels) for rows, labels in splits]
        for each in sets:
            each.names, each.files = [self.listing.names[row] for row in each.rows], self.listing.files
        return list(sets)

    def _set(self, rows: np.ndarray, labels: np.ndarray) -> InMemory | Streamed:
        if self._pixels is None:
            return Streamed(self.listing, self.decoder, rows, labels)
        return InMemory(self._pixels, rows, labels)

    def say(self, splits: Sequence[np.ndarray]) -> None:
        """Log what is odd about images that nobody has looked at yet, a line each; of the train and the test rows."""
        for line in oddities(self._facts, self.listing, splits, self.decoder.shape) if self._facts else ():
            logger.warning("dataset %s: %s", self.dataset, line)


def require_two_classes(dataset: str, labels: np.ndarray, listing: Listing) -> None:
    """Raises: DataError when the labels are of fewer than two classes."""
    n_classes = len(np.unique(labels))
    if n_classes < 2:
        what = f"{n_classes} class with {len(labels)} training images"
        raise DataError(f"dataset {dataset}: {listing.files.path} gives {what}, but at least 2 classes are needed")
