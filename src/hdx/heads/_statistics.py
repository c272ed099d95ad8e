"""What the statistics heads share: the bookkeeping around exact moments and a lazy solve."""

from __future__ import annotations

import copy
from abc import abstractmethod
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from hdx.heads._base import Head
from hdx.heads._moments import Moments


class StatisticsHead(Head):
    """A head solved in closed form from `Moments`.

    Logits are float64: at the size that logits of a thousand features reach, float32 could not show that two orders of
    the same samples agree. A class without samples has the logit -inf.

    Args:
        n_features: D.
        gram: whether `solve` needs the Gram matrix.
        per_class: whether it needs one for each class.
        floor: what it adds to the covariance's diagonal, at least (see `Moments`).
    """

    kind: ClassVar[Literal["statistics", "gradient", "episode"]] = "statistics"

    def __init__(self, n_features: int, gram: bool, per_class: bool = False, floor: float = 0.0) -> None:
        super().__init__(n_features)
        self.moments = Moments(n_features, gram=gram, per_class=per_class, floor=floor)
        self._solution: Any = None
        self._solved_for: tuple[int, torch.device] | None = None

    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes."""
        super().expand(n_new)
        self.moments.expand(n_new)

    def prepare(self, features: Tensor) -> Tensor:
        """What is done to features [N, D] before they are counted or scored."""
        return features

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in samples: features [N, D], labels [N] int64 in [0, n_classes)."""
        self.moments.update(self.prepare(features), labels)

    def reset(self) -> None:
        """Forget all samples; the classes stay."""
        n_classes = self.n_classes
        fresh = self.fresh()
        fresh.expand(n_classes)
        self.moments = fresh.moments
        self._solution, self._solved_for = None, None  # fresh moments count their versions anew

    def merge_ranks(self) -> None:
        """Sum what each rank took in since the last merge."""
        self.moments.merge_ranks()

    def merge(self, other: StatisticsHead) -> None:
        """Add the samples that another head over the same classes took in."""
        self.moments.merge(other.moments)

    def fresh(self) -> StatisticsHead:
        """A head with the same options and no samples."""
        fresh = copy.copy(self)
        fresh._modules, fresh._buffers = dict(self._modules), dict(self._buffers)
        fresh.n_classes, fresh._solution, fresh._solved_for = 0, None, None
        fresh.moments = self.moments.fresh()
        return fresh

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]: a fresh head for each episode. Heads with a batched form override this."""
        logits = []
        for samples, own, queries in zip(support, labels, query):
            head = self.fresh()
            head.expand(ways)
            head.update(samples, own)
            logits.append(head(queries))
        return torch.stack(logits)

    @abstractmethod
    def solve(self) -> Any:
        """What `score` needs, computed from `self.moments`."""

    @abstractmethod
    def score(self, features: Tensor, solution: Any) -> Tensor:
        """Logits [B, n_classes] of prepared float64 features [B, D]."""

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] float64 of features [B, D]."""
        device = self.moments.pivot.device
        if self._solved_for != (self.moments.version, device):
            with torch.inference_mode(False):  # the solution outlives the caller's inference mode
                self._solution = self.solve()
            self._solved_for = (self.moments.version, device)
        return self.score(self.prepare(features.to(device)).double(), self._solution)
