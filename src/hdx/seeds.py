"""Seeds: every random stream is derived from (seed, purpose, …), so that skipping one shifts no other."""

from __future__ import annotations

import hashlib

import numpy as np


def derive(seed: int, purpose: str, *parts: int | str) -> int:
    """A 63-bit seed for one purpose, the same on every machine and Python version."""
    text = "/".join([str(seed), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def stream(seed: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """A numpy generator (PCG64) seeded by `derive`."""
    return np.random.default_rng(derive(seed, purpose, *parts))
