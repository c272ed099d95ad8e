"""Cross-entropy with label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.losses._base import Loss
from hdx.options import Fraction


class CrossEntropy(Loss):
    """Cross-entropy of the softmax, per sample.

    Source: Szegedy et al. 2016, "Rethinking the Inception Architecture" (label smoothing).

    Args:
        label_smoothing: share of the target spread evenly over all seen classes.
    """

    def __init__(self, *, label_smoothing: Fraction = 0.0) -> None:
        super().__init__()
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] from logits [B, C] and labels [B] int64; 16-bit logits are computed in float32."""
        if logits.dtype in (torch.float16, torch.bfloat16):
            logits = logits.float()
        return F.cross_entropy(logits, labels, reduction="none", label_smoothing=self.label_smoothing)
