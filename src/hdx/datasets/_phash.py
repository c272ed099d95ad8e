"""Perceptual hashes: 64 bits that stay nearly the same when a picture is compressed, resized or made a little brighter."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

import numpy as np

SIDE, KEPT = 32, 8
NEAR = 6  # bits of 64 that two pictures of the same scene, saved in two ways, may differ by
BANDS = NEAR + 1  # of two hashes that differ in at most NEAR bits at least one of so many parts is equal


def hashes(images: np.ndarray) -> np.ndarray:
    """The signs of the lowest frequencies of each image about their median (Zauner 2010, "Implementation and Benchmarking of
    Perceptual Image Hash Functions", the DCT hash).

    Args:
        images: [N, C, H, W] uint8.
    Returns: [N] uint64; a picture without any detail gives 0.
    """
    grey = images.astype(np.float64).mean(1)  # [N, H, W]
    rows, columns = (_cosines(size) for size in grey.shape[1:])
    low = np.einsum("uh,nhw,vw->nuv", rows, grey, columns, optimize=True)  # [N, 8, 8], without the constant
    low = low.reshape(len(low), -1)
    bits = low > np.median(low, axis=1, keepdims=True)
    bits &= np.abs(low).max(axis=1, keepdims=True) > 1.0  # rounding is no detail
    return np.packbits(bits, axis=1).view(">u8")[:, 0].astype(np.uint64)


def _cosines(size: int) -> np.ndarray:
    """[8, size]: the cosines 1 to 8 over `size` samples, of length 1."""
    samples = (np.arange(size) + 0.5) / size
    return np.sqrt(2 / size) * np.cos(np.pi * np.arange(1, KEPT + 1)[:, None] * samples)


def near(first: np.ndarray, second: np.ndarray, bits: int = NEAR) -> Iterator[tuple[int, int, int]]:
    """(i, j, bits that differ) for hashes of two sets that differ in at most `bits` of 64, each i with its nearest j.

    Hashes are compared where one of their parts is equal, so that N x M comparisons are not made.
    """
    tables = [defaultdict(list) for _ in range(BANDS)]  # type: list[defaultdict[int, list[int]]]
    for j, parts in enumerate(_parts(second)):
        for table, part in zip(tables, parts):
            table[part].append(j)
    for i, parts in enumerate(_parts(first)):
        if not first[i]:
            continue
        among = np.unique(np.concatenate([np.array(table.get(part, []), np.int64) for table, part in zip(tables, parts)]))
        if len(among):
            distance = _ones(second[among] ^ first[i])
            if distance.min() <= bits:
                yield i, int(among[distance.argmin()]), int(distance.min())


def _parts(values: np.ndarray) -> list[list[int]]:
    """Each hash in `BANDS` parts."""
    width = -(-64 // BANDS)
    mask = np.uint64((1 << width) - 1)
    return np.stack([(values >> np.uint64(width * band)) & mask for band in range(BANDS)], axis=1).tolist()


def _ones(values: np.ndarray) -> np.ndarray:
    """How many bits are set."""
    return np.unpackbits(np.ascontiguousarray(values).view(np.uint8).reshape(len(values), 8), axis=1).sum(1)
