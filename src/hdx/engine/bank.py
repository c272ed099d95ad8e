"""The features bank: features of a split under a body's digest, computed once, memory-mapped, checksummed, shared by all runs.

An entry is the rows `features` [N, D] of one split under one digest. Images are forwarded in batches of one fixed size, which
makes a row a pure function of its image and not of its neighbours.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import torch

from hdx.body import Body, Unpooled
from hdx.datasets._base import ImageSet
from hdx.engine import ranks, stop
from hdx.engine._rows import Rows
from hdx.errors import Interrupted, RunError
from hdx.store.files import read_json, write_json

COST = "cost.json"
MADE, ASKED = 1, 2
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
        found: images that it did not, because another run had; found_seconds: what they cost that one, None where that is not
            known.
        owed: images that an earlier attempt of the run put through ahead; they are no other run's.
    """

    def __init__(self, root: Path, batch_size: int, dtype: str, device: torch.device) -> None:
        self.root, self.batch_size, self.dtype, self.device = root, batch_size, np.dtype(dtype), device
        self.forwarded = self.found = self.owed = 0
        self.found_seconds: float | None = 0.0
        self._own: dict[tuple[str, str], np.ndarray] = {}  # [N]: which rows this run made, and asked for
        self._entries: dict[tuple[str, str], Rows] = {}

    def get(
        self, body: Body | Unpooled, digest: str, images: ImageSet, indices: np.ndarray, soon: np.ndarray = NONE
    ) -> np.ndarray:
        """Features [len(indices), D] float32 of rows `indices`, extracting what is not there.

        Args:
            body: in eval mode on `device`, with this `digest`; before its pool, rows are [n_embedded] of its maps or tokens.
            soon: rows that the same body state will be asked for later; they fill the last batch, so that none is padded in vain.
        """
        entry = self._entry(digest, images, body)
        missing = _agreed(np.unique(indices[~entry.valid(indices)]), len(images))
        self._count(entry, digest, images, np.setdiff1d(indices, missing))
        if len(missing):
            rows = self._filled(missing, entry, soon, len(images))
            self.own(digest, images, missing)
            self._own[digest, images.digest][rows] |= MADE
            self._extract(body, entry, images, rows)
        if not entry.valid(indices).all():
            raise RuntimeError(
                f"features bank {entry.folder}: rows written by another rank are not visible; share output_dir between nodes"
            )
        return entry.rows[indices].astype(np.float32)

    def own(self, digest: str, images: ImageSet, rows: np.ndarray) -> np.ndarray:
        """Note rows as asked for by this run. Returns: those that it neither made nor asked for before."""
        noted = self._own.setdefault((digest, images.digest), np.zeros(len(images), np.uint8))
        fresh = np.unique(rows[noted[rows] == 0])
        noted[rows] |= ASKED
        return fresh

    @property
    def ahead(self) -> int:
        """Images that this run put through a body and did not ask for yet: they filled a batch."""
        return sum(int((noted == MADE).sum()) for noted in self._own.values())

    def _count(self, entry: Rows, digest: str, images: ImageSet, rows: np.ndarray) -> None:
        """Count rows that are there although this run did not make them."""
        n = len(self.own(digest, images, rows))
        mine = min(n, self.owed)
        self.owed, n = self.owed - mine, n - mine
        if n:
            cost = _cost(entry.folder)
            self.found += n
            known = self.found_seconds is not None and cost["images"]
            self.found_seconds = (self.found_seconds or 0.0) + n * cost["seconds"] / cost["images"] if known else None

    def _entry(self, digest: str, images: ImageSet, body: Body | Unpooled) -> Rows:
        key = (digest, images.digest)
        if key not in self._entries:
            folder = self.root / digest[:32] / f"{images.digest[:32]}-{self.dtype.name}"
            files = (folder, "features", (len(images), body.n_embedded), self.dtype, "features bank")
            if ranks.rank() == 0:
                if not (folder / "about.json").exists():
                    write_json(folder / "about.json", body.spec)
                Rows.prepare(*files)
            ranks.barrier()
            self._entries = {known: entry for known, entry in self._entries.items() if known[0] == digest}
            self._entries[key] = Rows(*files)
        return self._entries[key]

    def _filled(self, missing: np.ndarray, entry: Rows, soon: np.ndarray, n_rows: int) -> np.ndarray:
        room = -len(missing) % (self.batch_size * ranks.world())
        later = np.setdiff1d(soon, missing)
        return np.concatenate([missing, _agreed(later[~entry.valid(later)], n_rows)[:room]]) if len(later) else missing

    def _extract(self, body: Body | Unpooled, entry: Rows, images: ImageSet, rows: np.ndarray) -> None:
        parts = [rows[start : start + self.batch_size] for start in range(0, len(rows), self.batch_size)]
        mine, started = parts[ranks.rank() :: ranks.world()], time.monotonic()
        for part, batch in zip(mine, images.batches(mine, self.device)):
            if stop.requested():
                break
            entry.write(part, body.rows(batch, self.batch_size).cpu().numpy())
            self.forwarded += len(part)
        if ranks.any_rank(stop.requested()):  # all ranks leave together; this is also where they wait for each other
            raise Interrupted("stopped while extracting features")
        if ranks.rank() == 0:
            cost = _cost(entry.folder)
            seconds = cost["seconds"] + time.monotonic() - started
            write_json(entry.folder / COST, {"images": cost["images"] + len(rows), "seconds": seconds})


def _cost(folder: Path) -> dict[str, float]:
    """Images that were put into an entry and the seconds that it took; zeros where nothing is known."""
    try:
        found = read_json(folder / COST)
        return {name: float(found[name]) for name in ("images", "seconds")}
    except (RunError, KeyError, TypeError, ValueError):
        return {"images": 0.0, "seconds": 0.0}


def _agreed(rows: np.ndarray, n_rows: int) -> np.ndarray:
    """Rows that any rank names, ascending: while ranks look, another process may write, and they must share the same work."""
    if ranks.world() == 1:
        return rows
    named = torch.zeros(n_rows, dtype=torch.int32)
    named[torch.from_numpy(rows)] = 1
    return np.flatnonzero(ranks.all_sum(named).numpy())
