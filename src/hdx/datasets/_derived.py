"""Datasets made of another one, given as `of`; what is made is a pure function of that one, the options and the seed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from hdx import digest, registry
from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import ConfigError
from hdx.rules import Rule, needed, part


class Derived(Dataset):
    """What all of them share: `self.base` is the other dataset, whose names and splits this one begins with."""

    licence: ClassVar[str] = "that of the dataset that it is made of"
    parts = ("of",)
    rules: ClassVar[tuple[Rule, ...]] = (
        needed("of", "dataset.of='{name: cifar10}', a dataset with its options"),
        part("of", "dataset"),
    )

    def __init__(self, data_dir: Path | None, cache_dir: Path, of: dict[str, Any] | None) -> None:
        super().__init__(data_dir, cache_dir)
        if of is None:
            raise ConfigError("dataset.of: expected the dataset that it is made of, as dataset.of='{name: cifar10}'")
        self.base: Dataset = registry.build("dataset", of, data_dir, cache_dir)
        self.classes, self.groups, self.domains = self.base.classes, self.base.groups, self.base.domains
        self.class_splits, self.notes = self.base.class_splits, self.base.notes
        self.licence = self.base.licence  # type: ignore[misc]  # a class attribute of datasets that have one of their own
        self.train, self.test = self.base.train, self.base.test


class Chosen(ImageSet):
    """Some images of another split, or all of them, maybe with other labels.

    Args:
        base: the split.
        rows: [N] int64, indices into `base`.
        labels: [N] int64; None takes those of `base`. Given ones leave the targets of `base` behind.
    """

    def __init__(self, base: ImageSet, rows: np.ndarray, labels: np.ndarray | None = None) -> None:
        self.rows = rows
        self.labels = base.labels[rows] if labels is None else labels
        self.image_shape, self.files = base.image_shape, base.files
        self.names = None if base.names is None else [base.names[row] for row in rows]
        self.targets = None if base.targets is None or labels is not None else base.targets[rows]
        self.domains = None if base.domains is None else base.domains[rows]
        self.digest = digest.of_json([base.digest, digest.of_arrays(rows, self.labels)])
        self._base = base

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        return self._base.fetch(self.rows[indices])

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`."""
        return self._base.batches((self.rows[part] for part in parts), device)
