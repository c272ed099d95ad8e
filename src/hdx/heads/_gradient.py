"""What the gradient heads share: rows of weights that grow with the classes."""

from __future__ import annotations

import math
from typing import ClassVar, Literal

import torch
from torch import nn

from hdx.heads._base import Head


class GradientHead(Head):
    """A head whose rows, one a class, are trained by a method.

    `expand` replaces the parameters by longer ones (an optimiser made before does not know them): old rows keep their
    bits, new rows are uniform in +-1/sqrt(D) as in `nn.Linear`, drawn on the CPU from torch's global generator so that
    every device gets the same.

    Args:
        n_features: D.
    """

    kind: ClassVar[Literal["statistics", "gradient", "episode"]] = "gradient"
    weight: nn.Parameter

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.weight = nn.Parameter(torch.empty(0, n_features))

    def grown(self, old: nn.Parameter, n_new: int) -> nn.Parameter:
        """`old` [C, ...] with `n_new` fresh rows after its own."""
        with torch.inference_mode(False), torch.no_grad():
            bound = 1 / math.sqrt(self.n_features)
            fresh = torch.empty(n_new, *old.shape[1:]).uniform_(-bound, bound)
            return nn.Parameter(torch.cat([old.detach(), fresh.to(old)]), requires_grad=old.requires_grad)

    def expand(self, n_new: int) -> None:
        """Add a row for each of `n_new` further classes."""
        super().expand(n_new)
        self.weight = self.grown(self.weight, n_new)
