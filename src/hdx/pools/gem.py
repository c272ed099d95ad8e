"""Generalised-mean pooling."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdx.backbones._base import Backbone
from hdx.options import PositiveFloat
from hdx.pools._base import Pool
from hdx.rules import only_when


class GeM(Pool):
    """Generalised mean over positions: y_d = (mean_n max(x_nd, eps)^p)^(1/p), computed in float32.

    p = 1 is the average of the positive part, large p the maximum. Negative values count as eps, so it suits bodies that
    end in a ReLU better than tokens after a layer norm.

    Source: Radenovic et al. 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation", eq. 3.

    Args:
        backbone: whose layout, width and prefix tokens the pool reads.
        p: the exponent.
        eps: lower clamp of the values.
        learn: train the exponent together with the body (its start is p).
    """

    p: Tensor
    trains_by = "learn"
    rules = (only_when("learn", {"method.trains_in": ("first", "every", "episodes")}, fix="take method=first_session"),)

    def __init__(self, backbone: Backbone, *, p: PositiveFloat = 3.0, eps: PositiveFloat = 1e-6, learn: bool = False) -> None:
        super().__init__(backbone)
        self.eps = eps
        exponent = torch.tensor(float(p))
        if learn:
            self.p = nn.Parameter(exponent)
        else:
            self.register_buffer("p", exponent)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_features] in the dtype of a map [B, D, h, w] or tokens [B, T, D]."""
        values = x.flatten(2) if self.layout == "map" else x[:, self.n_prefix_tokens :].transpose(1, 2)  # [B, D, N]
        with torch.autocast(x.device.type, enabled=False):
            powers = values.to(self.p.dtype).clamp(min=self.eps).pow(self.p).mean(2)  # [B, D]
            return powers.pow(1 / self.p).to(x.dtype)
