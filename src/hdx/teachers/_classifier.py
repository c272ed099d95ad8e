"""A linear classifier with weights that are given."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Classifier(nn.Module):
    """scale * (x @ weight.T) + bias, of features or of their directions, in the dtype of the weights.

    Args:
        weight: [C, D]; bias: [C] or None.
        cosine: features and rows are taken at length 1.
        scale: of the products.
    """

    weight: Tensor
    bias: Tensor | None
    scale: Tensor

    def __init__(self, weight: Tensor, bias: Tensor | None, *, cosine: bool = False, scale: float = 1.0) -> None:
        super().__init__()
        self.cosine = cosine
        self.register_buffer("weight", F.normalize(weight, dim=1) if cosine else weight)
        self.register_buffer("bias", bias)
        self.register_buffer("scale", torch.tensor(scale, dtype=weight.dtype))  # a buffer: in digests with the rest

    def forward(self, features: Tensor) -> Tensor:
        """[B, C] of features [B, D]."""
        x = features.to(self.weight.dtype)
        found = self.scale * ((F.normalize(x, dim=1) if self.cosine else x) @ self.weight.T)
        return found if self.bias is None else found + self.bias
