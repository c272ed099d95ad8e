"""Rows of numbers on disk: memory-mapped, checksummed one by one, shared by all processes that want the same ones.

An entry is two files: the rows [N, W] and `sums` [N] uint64. A row is there when its checksum fits, so a process killed while
writing loses only the row it wrote, and two processes that write the same row write the same bytes.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

import numpy as np

log = logging.getLogger("hdx")


class Rows:
    """The rows of one entry.

    Args:
        folder: of the entry.
        name: of the file of rows; `sums` lies beside it.
        shape: (N, W).
        dtype: of the rows; W of them are an even number of bytes.
        what: what messages call it, as "features bank".
    """

    def __init__(self, folder: Path, name: str, shape: tuple[int, int], dtype: np.dtype, what: str) -> None:
        self.folder, self.what = folder, what
        self.rows = np.memmap(folder / name, dtype, "r+", shape=shape)
        self.sums = np.memmap(folder / "sums", np.uint64, "r+", shape=shape[:1])
        n_words = shape[1] * dtype.itemsize // 2
        self._weights = np.random.default_rng(0).integers(1, 2**63, n_words, dtype=np.uint64) | np.uint64(1)
        self._checked = np.zeros(shape[0], bool)

    @staticmethod
    def prepare(folder: Path, name: str, shape: tuple[int, int], dtype: np.dtype, what: str) -> None:
        """Make the files, empty, where they are not there; those of a wrong size are warned about and made anew."""
        sizes = {name: shape[0] * shape[1] * dtype.itemsize, "sums": shape[0] * 8}
        found = {each: (folder / each).stat().st_size for each in sizes if (folder / each).exists()}
        wrong = any(sizes[each] != size for each, size in found.items())
        if wrong:
            log.warning("%s %s: expected files of %s bytes, got %s; computing them again", what, folder, sizes, found)
        folder.mkdir(parents=True, exist_ok=True)
        for each, size in sizes.items():
            if wrong or each not in found:
                _make(folder / each, size, keep=not wrong)

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """[len(rows)] bool: which rows are there and whole; a damaged one is warned about."""
        unchecked = np.unique(rows[~self._checked[rows]])
        for start in range(0, len(unchecked), 4096):
            part = unchecked[start : start + 4096]
            stored = np.asarray(self.sums[part])
            good = stored == self._checksums(np.asarray(self.rows[part]))
            damaged = int(((stored != 0) & ~good).sum())
            if damaged:
                log.warning("%s %s: %d rows do not match their checksums; computing them again", self.what, self.folder, damaged)
            self._checked[part] = good
        return self._checked[rows]

    def write(self, rows: np.ndarray, values: np.ndarray) -> None:
        """Store rows, then their checksums."""
        stored = values.astype(self.rows.dtype)
        self.rows[rows] = stored
        self.sums[rows] = self._checksums(stored)
        self._checked[rows] = True

    def _checksums(self, values: np.ndarray) -> np.ndarray:
        words = np.ascontiguousarray(values).view(np.uint16).astype(np.uint64)
        with np.errstate(over="ignore"):
            return (words * self._weights).sum(1, dtype=np.uint64) | np.uint64(1)


def _make(path: Path, size: int, keep: bool) -> None:
    """A file of zeros under its name all at once; with `keep` one that another process made meanwhile stays, its rows with it."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    with temporary.open("wb") as file:
        os.truncate(file.fileno(), size)
    try:
        if keep:
            os.link(temporary, path)
            temporary.unlink()
        else:
            temporary.replace(path)
    except FileExistsError:
        temporary.unlink()
    except OSError:  # a file system without hard links
        temporary.replace(path)
