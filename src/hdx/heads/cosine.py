"""A cosine classifier: scaled cosines between the feature and one trained direction a class."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.heads._gradient import GradientHead
from hdx.heads._plain import PlainHead
from hdx.options import PositiveFloat


class Cosine(GradientHead):
    """Cosine classifier with a scale (normalised softmax).

    logit_c = scale * <x/||x||, w_c/||w_c||>, normalised in float32 whatever the precision of the run. The largest
    probability it can give is e^scale / (e^scale + (C - 1) e^-scale), so let the scale grow with log C.

    Source: Gidaris and Komodakis 2018, "Dynamic Few-Shot Visual Learning without Forgetting"; Zhai and Wu 2019.

    Args:
        n_features: D.
        scale: inverse temperature of the cosines.
        learn_scale: train the scale too (its logarithm, so that it stays positive).
    """

    def __init__(self, n_features: int, *, scale: PositiveFloat = 16.0, learn_scale: bool = False) -> None:
        super().__init__(n_features)
        self.scale = scale
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale))) if learn_scale else None

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] in [-scale, scale] of features [B, D]."""
        with torch.autocast(features.device.type, enabled=False):
            x = F.normalize(features.to(self.weight.dtype), dim=1)  # [B, D]
            w = F.normalize(self.weight, dim=1)  # [C, D]
            scale = self.scale if self.log_scale is None else self.log_scale.exp()
            return scale * (x @ w.T)

    def plain_form(self) -> PlainHead:
        """Cosines to its directions."""
        scale = self.scale if self.log_scale is None else math.exp(float(self.log_scale))
        return PlainHead("cosine", F.normalize(self.weight, dim=1), torch.zeros(len(self.weight)).to(self.weight), scale)
