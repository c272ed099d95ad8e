"""Several pictures on one canvas: images of more than one class."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.datasets._base import ImageSet
from hdx.datasets._derived import Derived
from hdx.errors import ConfigError
from hdx.options import PositiveInt, Seed
from hdx.seeds import stream


class Mosaic(Derived):
    """Canvases of grid x grid cells with a few pictures of another dataset, each image of several classes.

    Source: as the multi-digit MNIST of Sener and Koltun 2018, Multi-Task Learning as Multi-Objective Optimization

    `targets` has a 1 for each class that is on a canvas; `labels` is the class of the first picture that was drawn.

    Args:
        of: the dataset, as `{name: digits}`.
        grid: cells along a side.
        pictures: how many are on a canvas: at least and at most.
        train_images: canvases of training pictures.
        test_images: canvases of test pictures.
        seed: which pictures are where; not the seed of the run.
    """

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        of: dict[str, Any] | None = None,
        grid: Annotated[int, ">= 2"] = 2,
        pictures: tuple[int, int] = (1, 4),
        train_images: PositiveInt = 2000,
        test_images: PositiveInt = 500,
        seed: Seed = 0,
    ) -> None:
        super().__init__(data_dir, cache_dir, of)
        fewest, most = pictures
        if not 1 <= fewest <= most <= grid**2:
            raise ConfigError(f"dataset.pictures: expected 1 <= least <= most <= {grid**2} (cells), got {list(pictures)}")
        n_classes = len(self.classes)
        self.domains = None
        self.train, self.test = (
            Canvases(part, n_classes, grid, (fewest, most), n_images, (seed, split))
            for part, n_images, split in ((self.base.train, train_images, "train"), (self.base.test, test_images, "test"))
        )


class Canvases(ImageSet):
    """Pictures of a split on black canvases.

    Args:
        base: the split.
        n_classes: of the dataset.
        grid: cells along a side.
        pictures: on a canvas, at least and at most.
        n_images: how many canvases.
        seed: of the draw, and what it is for.
    """

    def __init__(
        self, base: ImageSet, n_classes: int, grid: int, pictures: tuple[int, int], n_images: int, seed: tuple[int, str]
    ) -> None:
        rng = stream(seed[0], "mosaic", seed[1])
        self.rows = rng.integers(0, len(base), (n_images, pictures[1]))  # [N, K]
        self.cells = np.argsort(rng.random((n_images, grid**2)), axis=1)[:, : pictures[1]]  # [N, K], each another
        self.shown = np.arange(pictures[1]) < rng.integers(pictures[0], pictures[1] + 1, n_images)[:, None]  # [N, K]
        self.labels = base.labels[self.rows[:, 0]]
        self.targets = np.zeros((n_images, n_classes), np.float32)
        self.targets[np.nonzero(self.shown)[0], base.labels[self.rows[self.shown]]] = 1
        channels, height, width = base.image_shape
        self.image_shape = (channels, grid * height, grid * width)
        self.digest = digest.of_json([base.digest, grid, digest.of_arrays(self.rows, self.cells, self.shown)])
        self._base, self._grid = base, grid

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        channels, height, width = self._base.image_shape
        cells = torch.zeros(len(indices), self._grid**2, channels, height, width, dtype=torch.uint8)
        which, column = np.nonzero(self.shown[indices])
        pictures = self._base.fetch(self.rows[indices][which, column])
        cells[torch.from_numpy(which), torch.from_numpy(self.cells[indices][which, column])] = pictures
        grid = cells.unflatten(1, (self._grid, self._grid))  # [B, row, column, C, h, w]
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(len(indices), *self.image_shape)
