"""Few-shot episodes drawn from synthetic clusters that look like features of a network: positive, correlated, overlapping."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor


class Clusters(NamedTuple):
    """support [E, S, D], labels [E, S], query [E, Q, D], query labels [E, Q]; sorted by class."""

    support: Tensor
    labels: Tensor
    query: Tensor
    truth: Tensor


def clusters(
    n_episodes: int,
    ways: int = 5,
    shots: int = 5,
    queries: int = 15,
    n_features: int = 64,
    signal: float = 0.8,
    seed: int = 0,
) -> Clusters:
    """Episodes of classes whose centres are `signal` apart, with noise that is shared by all classes along 12 directions."""
    g = torch.Generator().manual_seed(seed)
    directions = 2 * torch.randn(12, n_features, generator=g) / n_features**0.5
    centres = signal * torch.randn(n_episodes, ways, 1, n_features, generator=g)
    common = torch.randn(n_episodes, ways, shots + queries, 12, generator=g) @ directions
    own = 0.7 * torch.randn(n_episodes, ways, shots + queries, n_features, generator=g)
    x = (0.5 + centres + common + own).relu()
    labels = [torch.arange(ways).repeat_interleave(n).expand(n_episodes, -1).contiguous() for n in (shots, queries)]
    return Clusters(x[:, :, :shots].flatten(1, 2), labels[0], x[:, :, shots:].flatten(1, 2), labels[1])


def accuracy(logits: Tensor, truth: Tensor) -> float:
    """Mean accuracy of logits [E, Q, W] over all queries."""
    return (logits.argmax(2) == truth).double().mean().item()
