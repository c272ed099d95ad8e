"""What is done between phases without a loss that descends: clustering, scoring, pruning, merging, calibration."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from hdx.memories._base import Samples


class Work(ABC):
    """A procedure of a known number of steps that the engine times, records, stops and resumes.

    A method yields it from `phases` where it is to be done. All ranks do the same; torch's global generator is seeded before each
    step, so that a step is a pure function of its number and of the state.

    Args:
        name: in progress and records.
        steps: how many.

    Attributes:
        changes_body: whether steps change the body, so that features that later steps ask for are extracted again.
    """

    changes_body: ClassVar[bool] = False

    def __init__(self, name: str, steps: int) -> None:
        self.name, self.steps = name, steps

    @abstractmethod
    def step(self, number: int, samples: Samples) -> float | None:
        """Do step `number`, from 0. Returns: a number to show beside the progress, such as an objective; that of the
        last step is recorded."""

    def state_dict(self) -> dict[str, Any]:
        """What the next step needs beside body, head and `Method.beside`: tensors and plain data."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:  # noqa: B027
        """Take over what `state_dict` gave."""

    def finish(self) -> None:  # noqa: B027
        """Called when the last step is done."""
