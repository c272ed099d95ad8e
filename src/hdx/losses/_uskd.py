"""Soft labels that a student makes for itself: the losses of USKD."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

EPSILON = 1e-6
SMOOTHING = 0.1


def target_loss(logits: Tensor, labels: Tensor, mean_square: Tensor) -> Tensor:
    """-P_y log s_y of each sample, P_y = s_y^2 + 1 - mean(s_y^2) without gradient (Yang et al. 2023, section 3.3).

    Args:
        logits: [B, C]; labels: [B].
        mean_square: scalar, mean of s_y^2 over the whole batch.
    Returns: [B].
    """
    log_s = logits.log_softmax(1).gather(1, labels[:, None])[:, 0]  # [B]
    target = (log_s.detach().exp().square() + 1 - mean_square).detach()
    return -target * log_s


def squares(logits: Tensor, labels: Tensor) -> Tensor:
    """s_y^2 [B], without gradient."""
    return logits.detach().softmax(1).gather(1, labels[:, None])[:, 0].square()


def other_loss(logits: Tensor, weak: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy of each sample over the classes but its own, against a Zipf distribution over their ranks.

    Classes are ranked by w_c / (1 - w_y) + s_c / (1 - s_y), probabilities of the weak and of the full prediction; the r-th of all
    C gets 1 / r, and what is left without the label's is scaled to sum 1. Of equal scores the lower class comes first.

    Args:
        logits, weak: [B, C]; labels: [B].
    Returns: [B]; 0 where there is one class.
    """
    target = zipf(logits, weak, labels)  # [B, C]
    own = F.one_hot(labels, logits.shape[1]).bool()
    log_s = logits.masked_fill(own, -torch.inf).log_softmax(1)
    return -torch.where(target > 0, target * log_s, 0.0).sum(1)


@torch.no_grad()
def zipf(logits: Tensor, weak: Tensor, labels: Tensor) -> Tensor:
    """[B, C] rows of sum 1 with 0 at the label; see `other_loss`."""
    score = torch.zeros_like(logits)
    for each in (weak, logits):
        p = each.softmax(1)
        score = score + p / (1 - p.gather(1, labels[:, None]) + EPSILON)
    order = score.argsort(dim=1, descending=True, stable=True)  # [B, C] classes by rank
    ranks = torch.arange(1, logits.shape[1] + 1, dtype=logits.dtype, device=logits.device)
    value = torch.empty_like(logits).scatter_(1, order, (1 / ranks).expand_as(logits))
    value = value.scatter(1, labels[:, None], 0.0)
    return value / value.sum(1, keepdim=True).clamp(min=torch.finfo(value.dtype).tiny)


def weak_loss(weak: Tensor, labels: Tensor) -> Tensor:
    """[B] cross-entropy of the weak logits [B, C] with labels smoothed by 0.1."""
    return F.cross_entropy(weak, labels, reduction="none", label_smoothing=SMOOTHING)
