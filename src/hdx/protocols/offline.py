"""Offline: all classes at once, the usual supervised benchmark; with all labels, or few of them."""

from __future__ import annotations

import numpy as np

from hdx.datasets._base import Dataset
from hdx.options import Fraction, PositiveInt, Seed
from hdx.protocols._base import Protocol, Session
from hdx.protocols._labels import split_rows
from hdx.rules import ANY, at_most_one, only_when


class Offline(Protocol):
    """All classes in one session, with all training images, a few shots of each class, or few labels among many images.

    Three disjoint parts of the train split, drawn class by class: `validation` rows first, which nothing trains on and models are
    chosen by; then the labelled ones, all that are left, or `shots` or the share `labels` of the class; with `labels` the rest
    stays as unlabelled rows, which the methods that can use them see without their labels. A smaller share is part of a larger
    one, and every method sees the same rows: one that knows no unlabelled rows is trained on few labels.

    Source: the usual supervised and K-shot linear-probe setting; few labels as in semi-supervised learning (Oliver et al. 2018,
        "Realistic Evaluation of Deep Semi-Supervised Learning Algorithms", who warn of validation sets larger than the labelled
        part: `validation` counts as labels, too).

    Args:
        shots: labelled training images a class; None takes all. The others are left out.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
        labels: share of each class's training images that keep their labels, at least one image; None keeps all.
        validation: share of each class's training images held out for choosing between models, at least one image; 0 holds out
            none.
        label_seed: seed of the draws of labelled and validation images; None follows the run's seed.
    """

    rules = (
        at_most_one("labels", "shots", say="say how many labels there are"),
        only_when("shot_seed", shots=ANY),
    )

    def __init__(
        self,
        *,
        shots: PositiveInt | None = None,
        shot_seed: Seed | None = None,
        train_seed: Seed | None = None,
        labels: Fraction | None = None,
        validation: Fraction = 0.0,
        label_seed: Seed | None = None,
    ) -> None:
        self.shots, self.shot_seed, self.train_seed = shots, shot_seed, train_seed
        self.labels, self.validation, self.label_seed = labels, validation, label_seed

    def setting(self, sessions: list[Session]) -> str:
        """`1 session`, and how many rows have labels where not all have."""
        session, said = sessions[0], super().setting(sessions)
        if session.unlabelled is not None:
            said += f", {len(session.train):,} labelled and {len(session.unlabelled):,} unlabelled images"
        return said if session.validation is None else f"{said}, {len(session.validation):,} for validation"

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """One session with every class."""
        shot_seed, label_seed = (seed if own is None else own for own in (self.shot_seed, self.label_seed))
        parts = split_rows(dataset, self.shots, self.labels, self.validation, shot_seed, label_seed)
        classes = tuple(range(len(dataset.classes)))
        test = np.arange(len(dataset.test.labels))
        unlabelled = parts.unlabelled if self.labels is not None else None
        validation = parts.validation if self.validation else None
        return [Session(0, classes, classes, parts.train, test, unlabelled=unlabelled, validation=validation)]
