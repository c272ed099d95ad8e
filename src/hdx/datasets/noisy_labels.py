"""Wrong labels in the train split."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdx.datasets._base import ImageSet
from hdx.datasets._derived import Chosen, Derived
from hdx.datasets._splits import rows_by_class, shuffled
from hdx.errors import ConfigError
from hdx.options import Fraction, Seed
from hdx.rules import only_when
from hdx.seeds import stream


class NoisyLabels(Derived):
    """Another dataset some of whose training labels are wrong; those of the test split stay.

    Source: Han et al. 2018, Co-teaching (symmetric and pair); human labels as of Peterson et al. 2019 (CIFAR-10H)

    Args:
        of: the dataset, as `{name: cifar10}`.
        kind: any other class at random, the next class (in the order of the labels), or what a person answered: drawn for each
            image from its soft labels, which the dataset needs to have.
        rate: share of the images of each class whose label is wrong.
        seed: which labels; not the seed of the run.
    """

    rules = (only_when("rate", kind=("symmetric", "pair")),)

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        of: dict[str, Any] | None = None,
        kind: Literal["symmetric", "pair", "human"] = "symmetric",
        rate: Fraction = 0.2,
        seed: Seed = 0,
    ) -> None:
        super().__init__(data_dir, cache_dir, of)
        train = self.base.train
        labels = _answered(train, seed) if kind == "human" else _changed(train.labels, self.classes, kind, rate, seed)
        self.train = Chosen(train, np.arange(len(train)), labels)
        self.notes = {**self.notes, "wrong_labels": int((labels != train.labels).sum())}


def _changed(labels: np.ndarray, classes: list[str], kind: str, rate: float, seed: int) -> np.ndarray:
    """[N] with exactly round(rate x n) labels of each class changed."""
    found, n_classes = labels.copy(), len(classes)
    for label, rows in enumerate(rows_by_class(labels, n_classes)):
        rows = shuffled(rows, classes[label], seed)[: round(rate * len(rows))]
        steps = stream(seed, "noise", label).integers(1, n_classes, len(rows)) if kind == "symmetric" else 1
        found[rows] = (label + steps) % n_classes
    return found


def _answered(images: ImageSet, seed: int) -> np.ndarray:
    """[N] drawn from the soft labels of each image."""
    if images.targets is None:
        raise ConfigError(
            "dataset.kind=human: the training images have no soft labels. Take dataset.of='{name: cifar10, class_folders: "
            "cifar10_test.zip, human_labels: soft}', or another kind"
        )
    edges = np.cumsum(images.targets.astype(np.float64), axis=1)
    drawn = stream(seed, "answers").random(len(edges)) * edges[:, -1]
    return (drawn[:, None] >= edges).sum(1).clip(max=edges.shape[1] - 1).astype(np.int64)
