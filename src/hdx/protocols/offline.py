"""Offline: all classes at once, the usual supervised benchmark."""

from __future__ import annotations

import numpy as np

from hdx.datasets._base import Dataset
from hdx.options import NonNegativeInt, PositiveInt
from hdx.protocols._base import Protocol, Session
from hdx.protocols._sampling import check_shots, make_sessions


class Offline(Protocol):
    """All classes in one session, with all training images or a few shots of each class.

    Source: the usual supervised and K-shot linear-probe setting.

    Args:
        shots: training images a class; None takes all.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
    """

    def __init__(
        self,
        *,
        shots: PositiveInt | None = None,
        shot_seed: NonNegativeInt | None = None,
        train_seed: NonNegativeInt | None = None,
    ) -> None:
        self.shots, self.shot_seed, self.train_seed = shots, shot_seed, train_seed

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """One session with every class."""
        check_shots(dataset.train, dataset.classes, self.shots)
        shot_seed = seed if self.shot_seed is None else self.shot_seed
        return make_sessions(dataset, [np.arange(len(dataset.classes))], [self.shots], shot_seed)
