"""From a listing of image files to splits, in memory or streamed."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from hdx import digest
from hdx.datasets._base import ImageSet
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._decode import Decoder, decode, n_cores
from hdx.datasets._listing import Listing
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._stream import Streamed
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
    warn_of_copies: bool = False,
) -> list[ImageSet]:
    """One ImageSet for each split, all on the same decoded images, which are cached on disk when they fit in memory.

    Args:
        dataset: name, for messages and cache files.
        cache_dir: folder of the cache.
        listing: every image of the dataset; the cache depends on it and not on the splits.
        decoder: how a file becomes an array.
        splits: rows of the listing and labels of each split.
        storage, memory_gb: the options of the same names.
        warn_of_copies: say how many images equal another one; for data that nobody has looked at yet.

    Raises: DataError for fewer than two classes and for an unreadable image.
    """
    require_two_classes(dataset, splits[0][1], listing)
    n_bytes = len(listing) * int(np.prod(decoder.shape))
    if storage == "disk" or (storage == "auto" and n_bytes > round(memory_gb * 1e9)):
        return _named(listing, [Streamed(listing, decoder, rows, labels) for rows, labels in splits])
    key = f"{dataset}-{digest.of_json([listing.identity, decoder.describe()])[:24]}"
    decoded = load_or_build(cache_dir, key, lambda: _decode_all(dataset, listing, decoder))
    if warn_of_copies:
        _warn_of_copies(dataset, decoded)
    pixels = Pixels(decoded)
    return _named(listing, [InMemory(pixels, rows, labels) for rows, labels in splits])


def _named(listing: Listing, sets: Sequence[InMemory | Streamed]) -> list[ImageSet]:
    for each in sets:
        each.names = [listing.names[row] for row in each.rows]
    return list(sets)


def require_two_classes(dataset: str, labels: np.ndarray, listing: Listing) -> None:
    """Raises: DataError when the labels are of fewer than two classes."""
    n_classes = len(np.unique(labels))
    if n_classes < 2:
        what = f"{n_classes} class with {len(labels)} training images"
        raise DataError(f"dataset {dataset}: {listing.files.path} gives {what}, but at least 2 classes are needed")


def _decode_all(dataset: str, listing: Listing, decoder: Decoder) -> Decoded:
    logger.info("decoding %d images of %s (once)", len(listing), dataset)
    images = decode(listing.files, listing.names, decoder, n_cores())
    return Decoded(images, {"classes": listing.classes, "copies": _copies(images, listing.names)})


def _copies(images: np.ndarray, names: Sequence[str]) -> list[str]:
    """[number of images that equal an earlier one, the first such, the one it equals]; empty when all differ."""
    first: dict[bytes, int] = {}
    copies = []
    for i, image in enumerate(images):
        original = first.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), i)
        if original != i:
            copies.append((i, original))
    return [str(len(copies)), names[copies[0][0]], names[copies[0][1]]] if copies else []


def _warn_of_copies(dataset: str, decoded: Decoded) -> None:
    copies = decoded.facts.get("copies")
    if copies:
        text = "dataset %s: %s images equal another one pixel for pixel, so train and test may share some (first: %s = %s)"
        logger.warning(text, dataset, *copies)
