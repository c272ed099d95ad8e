"""A linear classifier whose rows grow with the classes."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.heads._gradient import GradientHead
from hdx.heads._plain import PlainHead


class Linear(GradientHead):
    """Linear classifier trained by gradient descent.

    Source: multinomial logistic regression; initialised as `torch.nn.Linear` (He et al. 2015).

    Args:
        n_features: D.
        bias: add a trained offset to each class.
    """

    def __init__(self, n_features: int, *, bias: bool = True) -> None:
        super().__init__(n_features)
        self.bias = nn.Parameter(torch.empty(0)) if bias else None

    def expand(self, n_new: int) -> None:
        """Add a row, and a bias, for each of `n_new` further classes."""
        super().expand(n_new)
        if self.bias is not None:
            self.bias = self.grown(self.bias, n_new)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] of features [B, D]."""
        return F.linear(features.to(self.weight.dtype), self.weight, self.bias)

    def plain_form(self) -> PlainHead:
        """Its weight and bias."""
        bias = torch.zeros(len(self.weight)).to(self.weight) if self.bias is None else self.bias
        return PlainHead("linear", self.weight.detach(), bias.detach())

    def affine(self) -> tuple[Tensor, Tensor | None]:
        """Its weight and bias."""
        return self.weight, self.bias
