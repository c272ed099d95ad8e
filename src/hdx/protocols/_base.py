"""The contract of a protocol."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np

from hdx.datasets._base import Dataset


@dataclass(frozen=True)
class Session:
    """One step of a protocol.

    Attributes:
        index: 0-based.
        new_classes: dataset labels that arrive in this session, in order of arrival.
        seen_classes: dataset labels seen so far, in order of arrival; position = index of the logit.
        train: indices into the train split (int64, the order in which they are stored).
        test: indices into the test split of all seen classes.
    """

    index: int
    new_classes: tuple[int, ...]
    seen_classes: tuple[int, ...]
    train: np.ndarray
    test: np.ndarray


class Protocol(ABC):
    """How data arrives. Pure: the same dataset and seed give the same sessions on every machine."""

    @abstractmethod
    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """All sessions. Raises: ConfigError with the numbers when the dataset cannot serve the request."""
