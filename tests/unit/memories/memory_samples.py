"""Streams of samples without images, as memories see them."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch import Tensor

from hdx.memories._base import Memory, Samples
from hdx.protocols._base import Session

IMAGE_BYTES = 48


def samples_of(labels: np.ndarray, features: np.ndarray | None = None, asked: list[np.ndarray] | None = None) -> Samples:
    """Labels [N] with features [N, D] (random ones by default); the rows whose features are wanted are noted in `asked`."""
    drawn = np.random.default_rng(0).normal(size=(len(labels), 5)) if features is None else features

    def of(rows: np.ndarray) -> np.ndarray:
        if asked is not None:
            asked.append(rows)
        return drawn[rows].astype(np.float32)

    def batches(rows: np.ndarray) -> Iterator[Tensor]:
        raise AssertionError("no memory looks at images")

    return Samples(labels, IMAGE_BYTES, of, batches)


def sessions_of(labels: np.ndarray, parts: list[list[int]]) -> list[Session]:
    """Sessions that train on these rows; classes arrive with their first row."""
    seen: list[int] = []
    found = []
    for index, part in enumerate(parts):
        rows = np.array(part, np.int64)
        present = tuple(dict.fromkeys(int(label) for label in labels[rows]))
        new = tuple(label for label in present if label not in seen)
        seen += new
        found.append(Session(index, new, tuple(seen), rows, np.zeros(0, np.int64), present))
    return found


def fill(memory: Memory, samples: Samples, sessions: list[Session], seed: int = 0) -> list[list[int]]:
    """Go through the sessions. Returns: the rows that are kept after each."""
    kept = []
    for session in sessions:
        memory.keep(session, samples, seed + 1000 * session.index)
        kept.append(memory.rows.tolist())
    return kept
