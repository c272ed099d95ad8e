"""Gradients of two batches, compared, and a network drawn anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def gradient_distance(wanted: Sequence[Tensor], found: Sequence[Tensor]) -> Tensor:
    """Sum over layers and outputs of 1 - cos of two gradients (Zhao et al. 2021, "Dataset Condensation", eq. 8).

    Args:
        wanted, found: gradients of the parameters, in the same order; [O, ...] has O outputs. Vectors (biases, norms) are left
            out, as in the authors' code.
    """
    total = torch.zeros((), device=found[0].device)
    for one, other in zip(wanted, found, strict=True):
        if one.ndim > 1:
            a, b = one.detach().flatten(1), other.flatten(1)
            total = total + (1 - (a * b).sum(1) / (a.norm(dim=1) * b.norm(dim=1) + 1e-6)).sum()
    return total


def redraw(network: nn.Module) -> None:
    """New random weights for every layer that can draw its own, from torch's generator; statistics start over."""
    for layer in network.modules():
        draw = getattr(layer, "reset_parameters", None)
        if callable(draw):
            draw()


@contextmanager
def statistics_of(network: nn.Module, images: Tensor) -> Iterator[None]:
    """Inside it every batch norm that is in train mode has the statistics of `images` and keeps them.

    Images of one class have statistics of their own, which no network sees that is trained on all of them (the authors' code
    holds them likewise).
    """
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and layer.training]
    momenta = [layer.momentum for layer in norms]
    for layer in norms:
        layer.momentum = 1.0
    with torch.no_grad():
        network(images)
    for layer, momentum in zip(norms, momenta):
        layer.momentum = momentum
        layer.eval()
    try:
        yield
    finally:
        for layer in norms:
            layer.train()
