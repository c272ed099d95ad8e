"""Two linear classifiers that decide together."""

from __future__ import annotations

import torch
from torch import Tensor

from hdx.heads._base import Head
from hdx.heads.linear import Linear


class Dual(Head):
    """Two linear heads on the same features, one for labels and one for a teacher; their mixed probabilities decide.

    logits = log( alpha softmax(z_ce) + (1 - alpha) softmax(z_kd / beta) ). `method=dho` trains the two apart and sets the
    weights.

    Source: Kang et al. 2025, "Simple yet Effective Semi-supervised Knowledge Distillation from Vision-Language Models via
        Dual-Head Optimization" (DHO); read in the authors' code.

    Args:
        n_features: D.
        bias: add a trained offset to each class of both heads.

    Attributes:
        alpha, beta: scalars; alpha is the weight of the labels' head, beta the temperature of the teacher's.
    """

    kind = "gradient"
    only_with = "dho"
    alpha: Tensor
    beta: Tensor

    def __init__(self, n_features: int, *, bias: bool = True) -> None:
        super().__init__(n_features)
        self.on_labels, self.on_teacher = Linear(n_features, bias=bias), Linear(n_features, bias=bias)
        self.register_buffer("alpha", torch.tensor(0.5))
        self.register_buffer("beta", torch.tensor(1.0))

    def expand(self, n_new: int) -> None:
        """Add a row to both heads for each of `n_new` further classes."""
        super().expand(n_new)
        self.on_labels.expand(n_new)
        self.on_teacher.expand(n_new)

    def both(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """z_ce and z_kd [B, n_classes] of features [B, D]."""
        return self.on_labels(features), self.on_teacher(features)

    def forward(self, features: Tensor) -> Tensor:
        """Log of the mixed probabilities [B, n_classes] of features [B, D]."""
        return mixed(*self.both(features), self.alpha, self.beta)


def mixed(on_labels: Tensor, on_teacher: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """log( alpha softmax(on_labels) + (1 - alpha) softmax(on_teacher / beta) ), [B, C] of logits [B, C] each."""
    parts = [alpha.log() + on_labels.log_softmax(1), (1 - alpha).log() + (on_teacher / beta).log_softmax(1)]
    return torch.logaddexp(*parts)
