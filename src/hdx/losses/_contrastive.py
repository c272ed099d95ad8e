"""Losses of two views of the same samples, one value a sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def nt_xent(one: Tensor, other: Tensor, temperature: float) -> Tensor:
    """[N] normalised temperature-scaled cross-entropy (Chen et al. 2020, "SimCLR", eq. 1), of embeddings [N, D] of two views.

    Each view's partner is the right one among the 2N - 1 others; a sample's value is the mean of its two views. (The
    authors' code adds the two.) One sample alone has a loss of 0.
    """
    n = len(one)
    z = F.normalize(torch.cat([one, other]).float(), dim=1)  # [2N, D]
    similar = z @ z.T / temperature
    similar = similar.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(similar, partner, reduction="none").view(2, n).mean(0)


def cosine_distance(prediction: Tensor, target: Tensor) -> Tensor:
    """[N] 2 - 2 cos of embeddings [N, D]: the squared distance of their directions (Grill et al. 2020, "BYOL", eq. 2)."""
    return 2 - 2 * F.cosine_similarity(prediction.float(), target.float(), dim=1)
