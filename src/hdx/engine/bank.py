"""The features bank: features of a split under a body's digest, computed once, memory-mapped, checksummed, shared by all runs.

An entry is the rows `features` [N, D] of one split under one digest. Images are forwarded in batches of one fixed size, which
makes a row a pure function of its image and not of its neighbours.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from hdx.body import Body, Unpooled
from hdx.datasets._base import ImageSet
from hdx.engine import ranks, stop
from hdx.engine._rows import Rows
from hdx.errors import Interrupted
from hdx.store.files import write_json

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
        if len(missing):
            self._extract(body, entry, images, self._filled(missing, entry, soon, len(images)))
        if not entry.valid(indices).all():
            raise RuntimeError(
                f"features bank {entry.folder}: rows written by another rank are not visible; share output_dir between nodes"
            )
        return entry.rows[indices].astype(np.float32)

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
        mine = parts[ranks.rank() :: ranks.world()]
        for part, batch in zip(mine, images.batches(mine, self.device)):
            if stop.requested():
                break
            entry.write(part, body.rows(batch, self.batch_size).cpu().numpy())
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
