"""Seeds: every random stream is derived from (seed, purpose, …), so that skipping one shifts no other."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np


def derive(seed: int, purpose: str, *parts: int | str) -> int:
    """A 63-bit seed for one purpose, the same on every machine and Python version."""
    text = "/".join([str(seed), purpose, *map(str, parts)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def train_seed(config: Mapping[str, Any]) -> int:
    """Of all that is drawn while a run trains: `protocol.train_seed`, else the run's own."""
    own = config["protocol"].get("train_seed")
    return int(config["seed"] if own is None else own)


def stream(seed: int, purpose: str, *parts: int | str) -> np.random.Generator:
    """A numpy generator (PCG64) seeded by `derive`."""
    return np.random.default_rng(derive(seed, purpose, *parts))
