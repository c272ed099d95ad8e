"""A dataset of labels, of which protocols see nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from hdx.datasets._base import Dataset, ImageSet


class Labels(ImageSet):
    """A split whose images nobody may look at."""

    def __init__(self, labels: np.ndarray, shape: tuple[int, int, int]) -> None:
        self.labels, self.image_shape, self.digest = labels, shape, f"{len(labels)}"

    def fetch(self, indices: np.ndarray):  # type: ignore[no-untyped-def]
        raise AssertionError("a protocol must not look at images")


class Counted(Dataset):
    """`counts[c]` training images of class c in mixed order, and two test images of each."""

    licence = "none"

    def __init__(self, counts: Sequence[int], shape: tuple[int, int, int] = (1, 4, 4)) -> None:
        super().__init__(None, Path())
        self.classes = [f"c{i}" for i in range(len(counts))]
        rng = np.random.default_rng(3)
        self.train = Labels(rng.permutation(np.repeat(np.arange(len(counts)), counts)), shape)
        self.test = Labels(rng.permutation(np.repeat(np.arange(len(counts)), 2)), shape)
