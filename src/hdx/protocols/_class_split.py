"""Which classes bodies train on, which are for validation, and which are novel."""

from __future__ import annotations

import numpy as np

from hdx.datasets._base import Dataset
from hdx.seeds import stream

BASE_SHARE = 0.5


def class_split(dataset: Dataset, base: int | None, validation: int, seed: int) -> dict[str, np.ndarray]:
    """Labels of the "base", "validation" and "novel" classes, ascending: the dataset's published split, else one drawn by `seed`.

    Args:
        dataset: its classes, and its split where it has one.
        base: base classes of a drawn split; None takes half of all.
        validation: validation classes of a drawn split; the rest are novel.
        seed: of the draw.
    """
    if dataset.class_splits is not None:
        return {name: np.sort(labels) for name, labels in dataset.class_splits.items()}
    n_base = _n_base(dataset, base)
    order = stream(seed, "class_split").permutation(len(dataset.classes))
    parts = np.split(order, [n_base, n_base + validation])
    return {name: np.sort(part) for name, part in zip(("base", "validation", "novel"), parts)}


def split_problems(dataset: Dataset, base: int | None, validation: int) -> list[str]:
    """What is wrong with the options of `class_split`, a line each."""
    if dataset.class_splits is not None:
        sizes = " + ".join(f"{len(labels):,} {name}" for name, labels in dataset.class_splits.items())
        given = {"base": base, "validation": validation or None}
        return [
            f"protocol.{option}: the dataset has a published split of its classes ({sizes}), got {value}; leave it at its default"
            for option, value in given.items()
            if value is not None
        ]
    n_classes, n_base = len(dataset.classes), _n_base(dataset, base)
    if n_base + validation < n_classes:
        return []
    left = f"expected base + validation < {n_classes} (classes of the dataset), got {n_base} + {validation}"
    return [f"protocol.base: {left}, which leaves no novel class"]


def _n_base(dataset: Dataset, base: int | None) -> int:
    return round(BASE_SHARE * len(dataset.classes)) if base is None else base
