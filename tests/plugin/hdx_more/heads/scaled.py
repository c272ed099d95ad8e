"""A linear classifier with a trained temperature."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.heads._gradient import GradientHead
from hdx.options import PositiveFloat


class Scaled(GradientHead):
    """Linear classifier without bias whose logits share one trained scale.

    Source: Guo et al. 2017, "On Calibration of Modern Neural Networks" (temperature scaling).

    Args:
        n_features: D.
        scale: of the logits, at the start.
    """

    def __init__(self, n_features: int, *, scale: PositiveFloat = 1.0) -> None:
        super().__init__(n_features)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] of features [B, D]."""
        return self.log_scale.exp() * F.linear(features.to(self.weight.dtype), self.weight)
