"""The contract of a head."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

from torch import Tensor, nn


class Head(nn.Module):
    """Features [B, D] to logits [B, C_seen]; classes are numbered in order of arrival.

    A *statistics* head is solved in closed form from exact sufficient statistics: `update` may be called in any number of
    sessions, in any order and on any number of ranks (followed by `merge_ranks`), with the same logits as one call on
    everything. A *gradient* head has parameters that a method trains; its `update` does nothing.
    All state is in `state_dict`, so that a run resumes; buffers of statistics are float64.

    Args:
        n_features: D.
    """

    kind: ClassVar[Literal["statistics", "gradient"]]

    def __init__(self, n_features: int) -> None:
        super().__init__()
        self.n_features = n_features
        self.n_classes = 0

    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes."""
        self.n_classes += n_new

    def update(self, features: Tensor, labels: Tensor) -> None:  # noqa: B027
        """Take in samples: features [N, D], labels [N] int64 in [0, n_classes)."""

    def merge_ranks(self) -> None:  # noqa: B027
        """Sum what each rank took in since the last merge, when torch.distributed runs; idempotent otherwise."""

    def restore(self, state: dict[str, Tensor], n_classes: int) -> None:
        """Take over a `state_dict` saved when the head had `n_classes` classes."""
        self.expand(n_classes - self.n_classes)
        self.load_state_dict(state)

    @abstractmethod
    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] of features [B, D]; statistics heads solve lazily, once per change of state."""
