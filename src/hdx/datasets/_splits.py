"""Fixed train/test splits: the same on every machine, and adding a class moves no image of another class."""

from __future__ import annotations

import numpy as np

from hdx.errors import DataError
from hdx.seeds import stream


def shuffled(rows: np.ndarray, cls: str, seed: int) -> np.ndarray:
    """A permutation of the rows of one class that depends on their number, the class name and the seed alone."""
    return rows[stream(seed, "split", cls).permutation(len(rows))]


def rows_by_class(labels: np.ndarray, n_classes: int) -> list[np.ndarray]:
    """For each class its row numbers, ascending."""
    order = np.argsort(labels, kind="stable")
    return np.split(order, np.searchsorted(labels[order], np.arange(1, n_classes)))


def stratified(labels: np.ndarray, classes: list[str], test_fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and test rows, ascending; each class gives round(n x test_fraction) images to test, at least 1, and keeps 1.

    Raises: DataError naming a class with a single image.
    """
    train, test = [], []
    for cls, rows in zip(classes, rows_by_class(labels, len(classes))):
        if len(rows) < 2:
            raise DataError(
                f"class '{cls}' has {len(rows)} image, but a train/test split needs at least 2. Add images or remove it"
            )
        n_test = min(max(1, round(len(rows) * test_fraction)), len(rows) - 1)
        rows = shuffled(rows, cls, seed)
        test.append(rows[:n_test])
        train.append(rows[n_test:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def per_class(labels: np.ndarray, classes: list[str], n_train: int, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and test rows, ascending: `n_train` images of each class, and of the others at most `n_test`.

    Raises: DataError naming a class that has nothing left for the test split.
    """
    train, test = [], []
    for cls, rows in zip(classes, rows_by_class(labels, len(classes))):
        if len(rows) <= n_train:
            limit = min(np.bincount(labels, minlength=len(classes))) - 1
            left = f"class '{cls}' has {len(rows)} images, which leaves none for the test split"
            raise DataError(f"dataset.train_per_class={n_train}: {left}. Use at most {limit}")
        rows = shuffled(rows, cls, seed)
        train.append(rows[:n_train])
        test.append(rows[n_train : n_train + n_test])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))
