"""Stripes, drawn from a formula."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._memory import InMemory, Pixels
from hdx.options import PositiveInt

CLASSES = ("across", "down", "rising", "falling")


class Stripes(Dataset):
    """Grey 8x8 stripes in four directions, at random phases and under noise.

    Source: drawn from a formula.

    Args:
        per_class: training images a class; as many are for testing.
    """

    licence = "public domain"

    def __init__(self, data_dir: Path | None, cache_dir: Path, *, per_class: PositiveInt = 20) -> None:
        super().__init__(data_dir, cache_dir)
        self.classes = list(CLASSES)
        pixels = Pixels(load_or_build(cache_dir, f"stripes-{per_class}", lambda: drawn(2 * per_class)))
        labels = np.repeat(np.arange(4), 2 * per_class)
        rows = np.arange(len(labels))
        self.train, self.test = (InMemory(pixels, rows[part::2], labels[part::2]) for part in (0, 1))


def drawn(per_class: int) -> Decoded:
    """Images [4 * per_class, 1, 8, 8], class by class."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[:8, :8]
    waves = np.repeat(np.stack([y, x, x + y, x - y]), per_class, axis=0)  # [4 n, 8, 8]
    phases = rng.uniform(0, 2 * np.pi, len(waves))[:, None, None]
    noise = rng.normal(0, 8, waves.shape)
    images = (128 + 100 * np.sin(waves * np.pi / 2 + phases) + noise).clip(0, 255)
    return Decoded(images.astype(np.uint8)[:, None], {})
