"""Which rows of a train split keep their labels, which hide them, and which are held out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from hdx.datasets._base import Dataset
from hdx.errors import ConfigError
from hdx.protocols._sampling import train_indices
from hdx.seeds import stream


class Parts(NamedTuple):
    """Disjoint rows of the train split, class after class, ascending in each class."""

    train: np.ndarray
    unlabelled: np.ndarray
    validation: np.ndarray


def split_rows(
    dataset: Dataset, shots: int | None, labels: float | None, validation: float, shot_seed: int, label_seed: int
) -> Parts:
    """The parts of every class.

    A class of n images has round(validation * n) of them held out, at least one where `validation` is above 0, and
    round(labels * n) labelled ones, at least one. With one seed a smaller share of labels is part of a larger one.

    Args:
        shots: labelled images a class, out of those not held out; the rest are in no part.
        labels: share of labelled images; the rest are unlabelled. Not beside `shots`.
    Raises: ConfigError naming the smallest class where it has too few images.
    """
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    held = np.maximum(np.rint(validation * counts).astype(np.int64), 1) if validation else np.zeros_like(counts)
    _check(dataset, counts, held, shots)
    parts = [_of_class(dataset, label, n, shots, labels, shot_seed, label_seed) for label, n in enumerate(held)]
    return Parts(*(np.concatenate(rows) for rows in zip(*parts)))


def _of_class(
    dataset: Dataset, label: int, n_held: int, shots: int | None, labels: float | None, shot_seed: int, label_seed: int
) -> Parts:
    none = np.zeros(0, np.int64)
    if not n_held and labels is None:
        return Parts(train_indices(dataset.train, label, shots, shot_seed), none, none)
    members = stream(label_seed, "labels", label).permutation(np.flatnonzero(dataset.train.labels == label))
    held, rest = members[:n_held], members[n_held:]
    n_train = len(rest)
    if labels is not None:
        n_train = min(len(rest), max(1, round(labels * len(members))))
    if shots is not None:
        rest = stream(shot_seed, "shots", label).permutation(np.sort(rest))
        return Parts(np.sort(rest[:shots]), none, np.sort(held))
    return Parts(np.sort(rest[:n_train]), np.sort(rest[n_train:]), np.sort(held))


def _check(dataset: Dataset, counts: np.ndarray, held: np.ndarray, shots: int | None) -> None:
    """Raises: ConfigError unless every class has a training image, or `shots`, beside those that are held out."""
    left = counts - held
    smallest = int(left.argmin())
    name = dataset.classes[smallest]
    if shots is not None and left[smallest] < shots:
        rest = " after those for validation" if held[smallest] else ""
        raise ConfigError(
            f"protocol.shots: expected at most {left[smallest]} (training images of class '{name}'{rest}), got {shots}"
        )
    if held[smallest] and left[smallest] < 1:
        raise ConfigError(
            f"protocol.validation: class '{name}' has {counts[smallest]} training images and none would be left to train on: "
            "take a smaller share, or a dataset with more images a class"
        )
