"""Few images of most classes: a train split with a long tail."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from hdx.datasets._derived import Chosen, Derived
from hdx.datasets._splits import rows_by_class, shuffled
from hdx.options import Seed
from hdx.seeds import stream


class LongTail(Derived):
    """Another dataset whose training images become rarer from class to class; the test split stays.

    Source: Cui et al. 2019, Class-Balanced Loss Based on Effective Number of Samples (exponential); Liu et al. 2019,
    Large-Scale Long-Tailed Recognition in an Open World (Pareto, here as a power of the rank that gives exactly the ratio)

    Args:
        of: the dataset, as `{name: cifar100}`.
        profile: images by rank i = 0 … C - 1 of the class: n ratio^(-i / (C - 1)), or n (i + 1)^(-p) with C^p = ratio.
        ratio: images of the most frequent class over those of the rarest; n is the largest class of the dataset.
        order_seed: which class has which rank; null ranks them by their labels, as the field does.
        seed: which images stay; not the seed of the run.
    """

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        of: dict[str, Any] | None = None,
        profile: Literal["exponential", "pareto"] = "exponential",
        ratio: Annotated[float, ">= 1"] = 100.0,
        order_seed: Seed | None = None,
        seed: Seed = 0,
    ) -> None:
        super().__init__(data_dir, cache_dir, of)
        members = rows_by_class(self.base.train.labels, len(self.classes))
        sizes = counts(profile, max(map(len, members)), len(members), ratio)
        ranks = np.arange(len(members))
        if order_seed is not None:
            ranks = stream(order_seed, "ranks").permutation(len(members))
        kept = [shuffled(rows, cls, seed)[: sizes[rank]] for rows, cls, rank in zip(members, self.classes, ranks)]
        self.train = Chosen(self.base.train, np.sort(np.concatenate(kept)))


def counts(profile: str, largest: int, n_classes: int, ratio: float) -> list[int]:
    """Images a class by rank, at least one; a class that has fewer keeps them all."""
    rank = np.arange(n_classes)
    if profile == "exponential":
        share = ratio ** (-rank / max(1, n_classes - 1))
    else:
        share = (rank + 1.0) ** -(np.log(ratio) / np.log(max(2, n_classes)))
    return np.maximum(1, np.round(largest * share)).astype(int).tolist()
