"""The features bank: features of a split under a body's digest, computed once, memory-mapped, checksummed, shared by all runs.

An entry is two files: `features` [N, D] and `sums` [N] uint64. A row is there when its checksum fits, so a process killed
while writing loses only the row it wrote, and two processes that write the same row write the same bytes. Images are
forwarded in batches of one fixed size, which makes a row a pure function of its image and not of its neighbours.
"""

from __future__ import annotations

import logging
import os
import secrets
from pathlib import Path

import numpy as np
import torch

from hdx.datasets._base import ImageSet
from hdx.engine import ranks, stop
from hdx.errors import Interrupted
from hdx.methods._body import Body
from hdx.store.files import write_json

log = logging.getLogger("hdx")
NONE = np.zeros(0, np.int64)


class Bank:
    """All entries under one folder.

    Args:
        root: folder of the bank; safe to delete. Ranks on several nodes must share it.
        batch_size: images a forward pass.
        dtype: storage, "float32" or "float16".
        device: where the body is.

    Attributes:
        forwarded: images this process put through a body.
    """

    def __init__(self, root: Path, batch_size: int, dtype: str, device: torch.device) -> None:
        self.root, self.batch_size, self.dtype, self.device = root, batch_size, np.dtype(dtype), device
        self.forwarded = 0
        self._entries: dict[tuple[str, str], Entry] = {}

    def get(self, body: Body, digest: str, images: ImageSet, indices: np.ndarray, soon: np.ndarray = NONE) -> np.ndarray:
        """Features [len(indices), D] float32 of rows `indices`, extracting what is not there.

        Args:
            body: in eval mode on `device`, with this `digest`.
            soon: rows that the same body state will be asked for later; they fill the last batch, so that none is padded in vain.
        """
        entry = self._entry(digest, images, body)
        missing = _agreed(np.unique(indices[~entry.valid(indices)]), len(images))
        if len(missing):
            self._extract(body, entry, images, self._filled(missing, entry, soon, len(images)))
        if not entry.valid(indices).all():
            raise RuntimeError(
                f"features bank {entry.folder}: rows written by another rank are not visible; share output_dir between nodes"
            )
        return entry.features[indices].astype(np.float32)

    def _entry(self, digest: str, images: ImageSet, body: Body) -> Entry:
        key = (digest, images.digest)
        if key not in self._entries:
            folder = self.root / digest[:32] / f"{images.digest[:32]}-{self.dtype.name}"
            if ranks.rank() == 0:
                Entry.prepare(folder, len(images), body.n_features, self.dtype, body.spec)
            ranks.barrier()
            self._entries = {known: entry for known, entry in self._entries.items() if known[0] == digest}
            self._entries[key] = Entry(folder, len(images), body.n_features, self.dtype)
        return self._entries[key]

    def _filled(self, missing: np.ndarray, entry: Entry, soon: np.ndarray, n_rows: int) -> np.ndarray:
        room = -len(missing) % (self.batch_size * ranks.world())
        later = np.setdiff1d(soon, missing)
        return np.concatenate([missing, _agreed(later[~entry.valid(later)], n_rows)[:room]]) if len(later) else missing

    def _extract(self, body: Body, entry: Entry, images: ImageSet, rows: np.ndarray) -> None:
        parts = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        mine = parts[ranks.rank() :: ranks.world()]
        for part, batch in zip(mine, images.batches(mine, self.device)):
            if stop.requested():
                break
            if len(part) < self.batch_size:
                batch = torch.cat([batch, batch[-1:].expand(self.batch_size - len(part), *batch.shape[1:])])
            entry.write(part, body.embed(batch)[: len(part)].cpu().numpy())
            self.forwarded += len(part)
        if ranks.any_rank(stop.requested()):  # all ranks leave together; this is also where they wait for each other
            raise Interrupted("stopped while extracting features")


def _agreed(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Rows that any rank names, ascending: while ranks look, another process may write, and they must share the same work."""
    if ranks.world() == 1:
        return rows
    named = torch.zeros(n_rows, dtype=torch.int32)
    named[torch.from_numpy(rows)] = 1
    return np.flatnonzero(ranks.all_sum(named).numpy())


class Entry:
    """Features of one split under one digest; see the module's docstring for the format."""

    def __init__(self, folder: Path, n_rows: int, n_features: int, dtype: np.dtype) -> None:
        self.folder = folder
        self.features = np.memmap(folder / "features", dtype, "r+", shape=(n_rows, n_features))
        self.sums = np.memmap(folder / "sums", np.uint64, "r+", shape=(n_rows,))
        n_words = n_features * dtype.itemsize // 2
        self._weights = np.random.default_rng(0).integers(1, 2**63, n_words, dtype=np.uint64) | np.uint64(1)
        self._checked = np.zeros(n_rows, bool)

    @staticmethod
    def prepare(folder: Path, n_rows: int, n_features: int, dtype: np.dtype, about: dict) -> None:
        """Make the files, empty, unless they are there with the right sizes; a wrong size is warned about and made anew."""
        sizes = {"features": n_rows * n_features * dtype.itemsize, "sums": n_rows * 8}
        found = {name: (folder / name).stat().st_size for name in sizes if (folder / name).exists()}
        if found == sizes:
            return
        if found:
            log.warning(
                "features bank %s: expected files of %s bytes, got %s; computing the features again", folder, sizes, found
            )
        write_json(folder / "about.json", about)
        for name, size in sizes.items():
            temporary = folder / f".{name}.{secrets.token_hex(6)}.tmp"
            with temporary.open("wb") as file:
                os.truncate(file.fileno(), size)
            temporary.replace(folder / name)

    def valid(self, rows: np.ndarray) -> np.ndarray:
        """[len(rows)] bool: which rows are there and whole; a damaged one is warned about."""
        unchecked = np.unique(rows[~self._checked[rows]])
        for start in range(0, len(unchecked), 4096):
            part = unchecked[start : start + 4096]
            stored = np.asarray(self.sums[part])
            good = stored == self._checksums(np.asarray(self.features[part]))
            damaged = int(((stored != 0) & ~good).sum())
            if damaged:
                log.warning("features bank %s: %d rows do not match their checksums; computing them again", self.folder, damaged)
            self._checked[part] = good
        return self._checked[rows]

    def write(self, rows: np.ndarray, features: np.ndarray) -> None:
        """Store rows, then their checksums."""
        stored = features.astype(self.features.dtype)
        self.features[rows] = stored
        self.sums[rows] = self._checksums(stored)
        self._checked[rows] = True

    def _checksums(self, features: np.ndarray) -> np.ndarray:
        words = np.ascontiguousarray(features).view(np.uint16).astype(np.uint64)
        with np.errstate(over="ignore"):
            return (words * self._weights).sum(1, dtype=np.uint64) | np.uint64(1)
