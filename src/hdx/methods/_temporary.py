"""Classifiers that train with the body in one phase and are thrown away."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from hdx.heads.lda import LDA

#: Why an option of the temporary head has no effect (`hdx.rules`).
OF_ANOTHER_HEAD = "is of a temporary head, and {head} is trained in its place"


def temporary_classifier(n_features: int, n_classes: int, dropout: float) -> nn.Sequential:
    """Dropout and a linear layer, thrown away after the phase (FSA's session-1 head)."""
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(n_features, n_classes))


@torch.no_grad()
def start_from_lda(classifier: nn.Sequential, features: Tensor, labels: Tensor) -> None:
    """Set a temporary classifier to the LDA solution (total covariance + I) on features [N, D] with labels [N].

    Training then starts from a head that fits the body, and does not first distort the body to fit a random head (Kumar et
    al. 2022, linear probing then fine-tuning).
    """
    linear = classifier[-1]
    assert isinstance(linear, nn.Linear)
    lda = LDA(linear.in_features)
    lda.expand(linear.out_features)
    lda.update(features, labels)
    centre, weight, bias = lda.solve()
    linear.weight.copy_(weight)
    linear.bias.copy_(bias - weight @ centre)
