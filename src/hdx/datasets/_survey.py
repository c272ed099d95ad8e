"""What is in the files of a listing: broken ones, levels without a range, pictures of one colour, copies."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np

from hdx.datasets._cache import Decoded
from hdx.datasets._decode import Decoder, Unranged, attempt, n_cores, open_image, probes, quiet, unreadable
from hdx.datasets._kinds import printable
from hdx.datasets._levels import Ranges, is_deep, levels_of, measured
from hdx.datasets._listing import Listing
from hdx.datasets._tree import Files, Unreadable

logger = logging.getLogger("hdx")

FLAT = 2  # levels that a picture of one colour may differ by, for what compression leaves
CHUNK = 1024


class Survey:
    """Decodes every image of a listing once.

    Args:
        listing, decoder: which images, and how.
        keep: whether the images are kept, or only what is found about them.
    """

    def __init__(self, listing: Listing, decoder: Decoder, keep: bool) -> None:
        self.listing, self.keep = listing, keep
        self.images = np.zeros((len(listing) if keep else 0, *decoder.shape), dtype=np.uint8)
        self.failures: dict[int, Unreadable] = {}
        self.flat: set[int] = set()
        self.warned: list[str] = []
        self.ranges: dict[str, list[float]] = {}
        self._take(np.arange(len(listing)), decoder)
        if deep := [i for i, error in sorted(self.failures.items()) if isinstance(error, Unranged)]:
            self.ranges = measure(listing.files, [listing.names[i] for i in deep])
            self._take(np.array(deep), replace(decoder, ranges=ranges_of(self.ranges)))

    def _take(self, rows: np.ndarray, decoder: Decoder) -> None:
        for start in range(0, len(rows), CHUNK):
            part = rows[start : start + CHUNK]
            names = [self.listing.names[i] for i in part]
            images, failures = attempt(self.listing.files, names, decoder, n_cores(), self.warned)
            if self.keep:
                self.images[part] = images
            pixels = images.reshape(*images.shape[:2], -1)
            self.flat |= set(part[(pixels.max(-1) - pixels.min(-1) <= FLAT).all(-1)].tolist())
            for i in part.tolist():
                self.failures.pop(i, None)
            self.failures |= {int(part[j]): error for j, error in failures.items()}

    def decoded(self, skip_broken: int | None) -> Decoded:
        """The images of the readable files (none where they are not kept), and the facts.

        Facts: `broken` (name: reason), `ranges` (kind: [low, high, images]), `flat` and `copies` (rows, and pairs of rows, among
        the readable), `warned` (texts of Pillow's).

        Raises: DataError naming the unreadable files where they are more than `skip_broken`; None allows none.
        """
        names = self.listing.names
        broken = {names[i]: error.reason for i, error in sorted(self.failures.items())}
        if len(broken) > (skip_broken or 0):
            advice = "" if skip_broken is None else f", or dataset.skip_broken={len(broken)} leaves them out"
            alone = str(self.failures[min(self.failures)]) + advice.replace("them", "it")
            raise unreadable(self.listing.files, broken, alone, f"Replace or remove them{advice}")
        good = np.array([i for i in range(len(names)) if i not in self.failures], dtype=np.int64)
        row = {int(i): k for k, i in enumerate(good)}
        images = self.images if not self.keep or not broken else self.images[good]
        flat = sorted(row[i] for i in self.flat if i in row)
        facts = {"classes": self.listing.classes, "broken": broken, "ranges": self.ranges, "warned": self.warned, "flat": flat}
        return Decoded(images, facts | {"copies": _copies(images, set(flat))})


def needs_a_look(listing: Listing) -> bool:
    """Whether any of 256 images spread over a listing has more than 8 bits a sample, so that the set's range is asked for."""
    return _any_deep(listing.files, listing.names)


def _any_deep(files: Files, names: Sequence[str]) -> bool:
    with quiet():
        for name in probes(names):
            try:
                if is_deep(open_image(files, name)[0]):
                    return True
            except Unreadable:
                continue
    return False


def ranged(decoder: Decoder, files: Files, names: Sequence[str]) -> Decoder:
    """The decoder with the ranges of these images where it knows none and some of them have more than 8 bits."""
    if not _any_deep(files, names):
        return decoder
    found = ranges_of(measure(files, names))
    known = decoder.ranges
    return replace(decoder, ranges=Ranges(known.integer or found.integer, known.floating or found.floating))


def ranges_of(found: dict[str, list[float]]) -> Ranges:
    """From `measure`'s plain data."""
    return Ranges(**{kind: (low, high) for kind, (low, high, _) in found.items()})


def measure(files: Files, names: Sequence[str]) -> dict[str, list[float]]:
    """For integers and floats the range that all images together are in which state none, and how many they are."""
    with quiet(), ThreadPoolExecutor(n_cores()) as pool:
        spans = [span for span in pool.map(lambda name: _span(files, name), names) if span is not None]
    found: dict[str, list[float]] = {}
    for kind in sorted({kind for kind, _, _ in spans}):
        lows, highs = zip(*((low, high) for each, low, high in spans if each == kind))
        if (chosen := measured(min(lows), max(highs), kind)) is not None:
            found[kind] = [*chosen, len(lows)]
    return found


def _span(files: Files, name: str) -> tuple[str, float, float] | None:
    """The kind, lowest and highest level of an image that states no range; None for any other, and for a broken one."""
    try:
        image, data = open_image(files, name)
        levels = levels_of(image, data) if is_deep(image) else None
    except Exception:  # Pillow's plugins raise whatever they like on damaged files; decoding names them
        return None
    if levels is None or levels.stated is not None:
        return None
    seen = levels.values if levels.alpha is None or not levels.alpha.any() else levels.values[levels.alpha > 0]
    return levels.kind, float(seen.min()), float(seen.max())


def _copies(images: np.ndarray, flat: set[int]) -> list[list[int]]:
    """[row, an earlier row with the same pixels] for each such image; pictures of one colour are no copies of each other."""
    first: dict[bytes, int] = {}
    copies = []
    for i, image in enumerate(images):
        original = first.setdefault(hashlib.blake2b(image.tobytes(), digest_size=16).digest(), i)
        if original != i and i not in flat:
            copies.append([i, original])
    return copies


def oddities(facts: dict[str, Any], listing: Listing, splits: Sequence[np.ndarray], shape: tuple[int, ...]) -> Iterator[str]:
    """Lines about what a user may not expect of the images.

    Args:
        facts: of `Survey.decoded`.
        listing: of the readable images.
        splits: rows of the train and of the test split.
        shape: of a decoded image.
    """
    names = [printable(name) for name in listing.names]
    if broken := facts["broken"]:
        name, reason = next(iter(broken.items()))
        yield f"{len(broken)} files cannot be read and are left out (first: {printable(name)}: {' '.join(reason.split())})"
    for kind, (low, high, n_images) in facts["ranges"].items():
        what = "floats" if kind == "floating" else "levels of more than 8 bits"
        taken = f"that of the set, {low:g} (black) to {high:g} (white), is taken for all"
        yield f"{n_images} images hold {what} and state no range: {taken}"
    if flat := facts["flat"]:
        yield f"{len(flat)} pictures are of one colour all over (first: {names[flat[0]]}); look whether they should be"
    if copies := facts["copies"]:
        train, test = set(splits[0].tolist()), set(splits[1].tolist())
        originals = {original for row, original in copies for each in (row, original) if each in train}
        shared = {each for pair in copies if pair[1] in originals for each in pair if each in test}
        row, original = copies[0]
        yield (
            f"{len(copies)} images equal another one pixel for pixel, at {shape[2]} x {shape[1]} pixels"
            f" (first: {names[row]} = {names[original]}); {len(shared)} images of the test split are in the train split as well"
        )
    if warned := facts["warned"]:
        yield f"Pillow had doubts about {len(warned)} of the files (first: {' '.join(warned[0].split())})"
