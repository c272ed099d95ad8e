"""Class-incremental learning: disjoint groups of classes arrive one after the other (B*m*-Inc*n*)."""

from __future__ import annotations

from typing import Annotated

import numpy as np

from hdx.datasets._base import Dataset
from hdx.errors import ConfigError
from hdx.options import NonNegativeInt, PositiveInt, Seed
from hdx.protocols._base import Protocol, Session
from hdx.protocols._sampling import check_shots, class_order, make_sessions
from hdx.rules import ANY, alone, only_when


class ClassIncremental(Protocol):
    """New classes arrive in sessions; every session is scored on all classes seen so far, without task labels.

    Source: iCaRL (Rebuffi et al. 2017); B*m*-Inc*n* naming and class order 1993 as in the field's toolboxes.

    Args:
        first: classes of the first session; 0 takes as many as `step`.
        step: new classes in each later session; None takes a tenth of the classes, at least 2. The last session may be smaller.
        sizes: new classes of every session in turn, all classes together, in place of `first` and `step`.
        shots: training images a class; None takes all.
        order_seed: seed of the class order, shared with the field's toolboxes (1993 by convention); None follows the run's seed.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
    """

    rules = (
        alone("sizes", "first", "step", say="says how many classes each session has"),
        only_when("shot_seed", shots=ANY),
    )

    def __init__(
        self,
        *,
        first: NonNegativeInt = 0,
        step: PositiveInt | None = None,
        sizes: Annotated[list[int], ">= 1"] | None = None,
        shots: PositiveInt | None = None,
        order_seed: Seed | None = None,
        shot_seed: Seed | None = None,
        train_seed: Seed | None = None,
    ) -> None:
        self.first, self.step, self.sizes, self.shots = first, step, sizes, shots
        self.order_seed, self.shot_seed, self.train_seed = order_seed, shot_seed, train_seed

    def check_classes(self, n_classes: int) -> None:
        """See `Protocol`."""
        self._starts(n_classes)

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """`first` classes, then `step` at a time, or `sizes` in turn, in the order of `order_seed`."""
        n_classes = len(dataset.classes)
        starts = self._starts(n_classes)
        check_shots(dataset.train, dataset.classes, self.shots)
        order = class_order(n_classes, seed if self.order_seed is None else self.order_seed)
        groups = np.split(order, starts)
        shot_seed = seed if self.shot_seed is None else self.shot_seed
        return make_sessions(dataset, groups, [self.shots] * len(groups), shot_seed)

    def _starts(self, n_classes: int) -> list[int]:
        """Where in the order each session but the first begins. Raises: ConfigError when the dataset has other classes."""
        if self.sizes is not None:
            if sum(self.sizes) != n_classes:
                raise ConfigError(
                    f"protocol.sizes: the dataset has {n_classes} classes, got {sum(self.sizes)} in {len(self.sizes)} sessions"
                )
            return np.cumsum(self.sizes)[:-1].tolist()
        step = self.step or max(2, n_classes // 10)
        first = self.first or step
        if first > n_classes:
            raise ConfigError(f"protocol.{'first' if self.first else 'step'}: the dataset has {n_classes} classes, got {first}")
        return list(range(first, n_classes, step))
