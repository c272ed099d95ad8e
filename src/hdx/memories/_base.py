"""The contract of a memory: the replay buffer of the class-incremental literature, kept as rows and never as images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from hdx.protocols._base import Session
from hdx.rules import Rule


@dataclass(frozen=True)
class Samples:
    """The training samples of a run as a method or a memory may look at them when a session's training is over.

    Attributes:
        labels: [N] dataset labels of the whole train split.
        image_bytes: of one image as stored (uint8).
        features: rows [n] to features [n, D] float32 of the body as it is now, from the features bank.
        batches: rows [n] to transformed images [b, 3, S, S] on the run's device, in order, no augmentation.
    """

    labels: np.ndarray
    image_bytes: int
    features: Callable[[np.ndarray], np.ndarray]
    batches: Callable[[np.ndarray], Iterator[Tensor]]


class Memory(ABC):
    """Which training samples later sessions see again.

    Attributes:
        rows: [M] int64 into the train split; in the order of the classes' arrival, each class's in the order of choice, so that
            the first ones of a class are those to keep when room grows scarce.
        labels: [M] their dataset labels.
    """

    rules: ClassVar[tuple[Rule, ...]] = ()

    def __init__(self) -> None:
        self.rows = np.zeros(0, np.int64)
        self.labels = np.zeros(0, np.int64)

    @abstractmethod
    def keep(self, session: Session, samples: Samples, seed: int) -> None:
        """Choose among what is kept and the session's samples. Pure in its arguments and the state so far."""

    def state(self) -> dict[str, Tensor]:
        """What `load` takes over after a resume."""
        return {"memory.rows": torch.from_numpy(self.rows), "memory.labels": torch.from_numpy(self.labels)}

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        self.rows, self.labels = state["memory.rows"].numpy(), state["memory.labels"].numpy()
