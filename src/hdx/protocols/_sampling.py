"""What protocols share: class orders, shots, and the index lists of a session."""

from __future__ import annotations

import numpy as np

from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import ConfigError
from hdx.protocols._base import Session
from hdx.seeds import stream


def class_order(n_classes: int, order_seed: int) -> np.ndarray:
    """A permutation of the classes, drawn as the field's toolboxes draw it, so that 1993 means what it means there.

    Seeds from 2^32 on, which those do not take, have streams of hdx's own.
    """
    if order_seed >= 2**32:
        return stream(order_seed, "class order").permutation(n_classes)
    return np.random.RandomState(order_seed).permutation(n_classes)  # noqa: NPY002


def check_shots(images: ImageSet, classes: list[str], shots: int | None, option: str = "protocol.shots") -> None:
    """Raise ConfigError naming the smallest class when it has fewer than `shots` training images."""
    if shots is None:
        return
    counts = np.bincount(images.labels, minlength=len(classes))
    smallest = int(counts.argmin())
    if counts[smallest] < shots:
        raise ConfigError(
            f"{option}: expected at most {counts[smallest]} (training images of class '{classes[smallest]}'), got {shots}"
        )


def train_indices(images: ImageSet, label: int, shots: int | None, shot_seed: int) -> np.ndarray:
    """Indices of a class in the train split, ascending; `shots` of them drawn by (shot_seed, class), or all."""
    members = np.flatnonzero(images.labels == label)
    if shots is None:
        return members
    return np.sort(stream(shot_seed, "shots", label).permutation(members)[:shots])


def make_sessions(dataset: Dataset, groups: list[np.ndarray], shots: list[int | None], shot_seed: int) -> list[Session]:
    """Sessions of the given class groups; `shots[i]` training images a class in session i."""
    sessions: list[Session] = []
    seen: list[int] = []
    for index, (group, n_shots) in enumerate(zip(groups, shots)):
        seen.extend(int(label) for label in group)
        train = np.concatenate([train_indices(dataset.train, int(label), n_shots, shot_seed) for label in group])
        test = np.flatnonzero(np.isin(dataset.test.labels, seen))
        sessions.append(Session(index, tuple(int(c) for c in group), tuple(seen), train, test))
    return sessions
