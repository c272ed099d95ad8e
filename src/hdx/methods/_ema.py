"""A copy of a model that follows it: momentum encoders and mean teachers."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn


class Ema(nn.Module):
    """An exponential moving average of a model's parameters: target <- m target + (1 - m) online.

    The copy's buffers are its own: a batch norm in train mode counts what the copy sees. It belongs in `Method.beside`, which
    keeps it in checkpoints, and follows in `Phase.after_step`.

    Source: Tarvainen and Valpola 2017, "Mean teachers are better role models"; rising momentum: Grill et al. 2020 (BYOL), section
        3.3.

    Args:
        online: the model as it is now.
        momentum: m, in [0, 1].
        rises: whether m goes from `momentum` to 1 over a phase, as 1 - (1 - m) (cos(pi progress) + 1) / 2.
    """

    def __init__(self, online: nn.Module, momentum: float, *, rises: bool = False) -> None:
        super().__init__()
        self.copy = copy.deepcopy(online).requires_grad_(False)
        self.momentum, self.rises = momentum, rises

    @torch.no_grad()
    def forward(self, *inputs: Tensor) -> Tensor:
        """What the copy says, without gradient."""
        found: Tensor = self.copy(*inputs)
        return found

    def at(self, progress: float) -> float:
        """m at a share of the phase in [0, 1]."""
        return 1 - (1 - self.momentum) * (math.cos(math.pi * progress) + 1) / 2 if self.rises else self.momentum

    @torch.no_grad()
    def follow(self, online: nn.Module, progress: float = 0.0) -> None:
        """One step of the average."""
        m = self.at(progress)
        for target, value in zip(self.copy.parameters(), online.parameters(), strict=True):
            target.lerp_(value.detach(), 1 - m)
