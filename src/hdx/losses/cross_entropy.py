"""Cross-entropy with label smoothing."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.losses._base import Loss
from hdx.options import Fraction

MANY = 4096  # classes from which the logits of a batch are not made at once


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

    def of_linear(self, features: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor | None:
        """The same of logits features @ weight.T + bias, some samples at a time: on a GPU many classes fill its memory.

        Args:
            features: [B, D]; weight: [C, D]; bias: [C] or None; labels: [B].
        Returns: [B]; None where plain logits serve as well, or torch has no `linear_cross_entropy` (before 2.13).
        """
        if len(weight) < MANY or self.label_smoothing or not hasattr(F, "linear_cross_entropy") or not self.chunked(features):
            return None
        options = nn.LinearCrossEntropyOptions()
        x = features.to(weight.dtype)
        return F.linear_cross_entropy(x, weight, labels, linear_bias=bias, reduction="none", options=options)

    def chunked(self, features: Tensor) -> bool:
        """Whether to do so on the device of `features`; on a CPU plain logits are faster."""
        return features.is_cuda
