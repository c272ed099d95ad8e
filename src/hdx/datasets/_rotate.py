"""A split in which quarter turns of images are further samples."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.datasets._base import ImageSet


class Rotated(ImageSet):
    """Sample i is image `rows[i]` of another split, turned anticlockwise by `turns[i]` x 90 degrees.

    Args:
        base: the split that holds the images, which are square.
        rows: [N] int64, indices into `base`.
        turns: [N] int64 in 0..3.
        labels: [N] int64.
    """

    def __init__(self, base: ImageSet, rows: np.ndarray, turns: np.ndarray, labels: np.ndarray) -> None:
        self.rows, self.turns = rows, turns
        self.labels = labels
        self.image_shape = base.image_shape
        self.digest = digest.of_json([base.digest, digest.of_arrays(rows, turns, labels)])
        self.domains = None if base.domains is None else base.domains[rows]
        self._base = base

    def _turn(self, images: Tensor, indices: np.ndarray) -> Tensor:
        for quarter in (1, 2, 3):
            which = torch.from_numpy(np.flatnonzero(self.turns[indices] == quarter)).to(images.device)
            images[which] = torch.rot90(images[which], quarter, dims=(2, 3))
        return images

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        return self._turn(self._base.fetch(self.rows[indices]), indices)

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`."""
        mine, theirs = tee(parts)
        for part, images in zip(mine, self._base.batches((self.rows[p] for p in theirs), device)):
            yield self._turn(images, part)
