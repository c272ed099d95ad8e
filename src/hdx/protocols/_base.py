"""The contract of a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hdx.datasets._base import Dataset
from hdx.metrics.scores import scores
from hdx.rules import Rule


@dataclass(frozen=True)
class Session:
    """One step of a protocol.

    Attributes:
        index: 0-based.
        new_classes: dataset labels that arrive in this session, in order of arrival.
        seen_classes: dataset labels seen so far, in order of arrival; position = index of the logit.
        train: indices into the train split (int64, the order in which they are stored), at least one.
        test: indices into the test split of all seen classes.
        train_classes: dataset labels of `train`, in order of arrival; None: `new_classes`. Where classes come again it has old
            ones too, and `new_classes` may be empty.
        test_group: [len(test)] the session, at most this one, that each test sample counts for in the accuracy matrix; None: the
            one in which its class arrived.
        unlabelled: rows of the train split whose labels are hidden (-1 wherever a phase or a method sees labels), none of them in
            `train`; None where every row that is used has its label.
        validation: labelled rows of the train split that nothing trains on, for choosing between models; None without any.
    """

    index: int
    new_classes: tuple[int, ...]
    seen_classes: tuple[int, ...]
    train: np.ndarray
    test: np.ndarray
    train_classes: tuple[int, ...] | None = None
    test_group: np.ndarray | None = None
    unlabelled: np.ndarray | None = None
    validation: np.ndarray | None = None

    @property
    def present_classes(self) -> tuple[int, ...]:
        """The classes that this session trains on, in order of arrival: never empty, whatever `new_classes` is."""
        return self.new_classes if self.train_classes is None else self.train_classes


@dataclass(frozen=True)
class Episodes:
    """E few-shot episodes of one shape (N-way K-shot Q-query); rows are into the test split of the protocol's view.

    Attributes:
        number: [E] position of each in the protocol's list of episodes.
        classes: [E, W] dataset labels; the position in a row is the index of the logit.
        support: [E, S] rows; support_labels: [E, S] positions in `classes`, ascending.
        query: [E, Q] rows, none of them in the support; query_labels: [E, Q] positions in `classes`.
    """

    number: np.ndarray
    classes: np.ndarray
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray

    def __len__(self) -> int:
        return len(self.number)

    @property
    def ways(self) -> int:
        """W."""
        return self.classes.shape[1]


class Protocol(ABC):
    """How data arrives. Pure: the same dataset and seed give the same sessions on every machine.

    Facts, read from source (`hdx.config.facts`):
        episodic: whether it is scored on `episodes` after its only session.
        one_pass: whether a sample may be trained on once only.
    """

    episodic: ClassVar[bool] = False
    one_pass: ClassVar[bool] = False
    rules: ClassVar[tuple[Rule, ...]] = ()

    def view(self, dataset: Dataset) -> Dataset:
        """The dataset as this protocol deals with it: its `train` and `test` are what the rows of sessions and episodes mean."""
        return dataset

    def episodes(self, dataset: Dataset, seed: int) -> list[Episodes]:
        """All episodes of an episodic protocol, those of one shape together; pure as `sessions`, on the same view."""
        return []

    def score(self, stored: list[dict[str, np.ndarray]]) -> dict[str, float | None]:
        """The metrics of a run: a pure function of what each session has stored of its test samples.

        Args:
            stored: of each session, in order, arrays [N]: `index` of the test split, `label` and `prediction` (positions of the
                logits), `session_of_label`, `log_p_label`, `confidence`, and whatever else the engine stores.
        """
        return scores(stored)

    def setting(self, sessions: list[Session]) -> str:
        """What is done, in a few words."""
        return f"{len(sessions)} session{'s' if len(sessions) > 1 else ''}"

    def check_classes(self, n_classes: int) -> None:  # noqa: B027
        """Raises: ConfigError when a dataset of so many classes cannot serve the request; what else it takes `sessions` sees."""

    @abstractmethod
    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """All sessions. Raises: ConfigError with the numbers when the dataset cannot serve the request."""
