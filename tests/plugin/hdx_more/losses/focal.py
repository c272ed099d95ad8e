"""Focal loss."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from hdx.losses._base import Loss
from hdx.options import Fraction, NonNegativeFloat
from hdx.rules import ANY, only_when


class Focal(Loss):
    """Focal loss: -(1 - p_y)^gamma log p_y, per sample.

    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4.

    Args:
        gamma: how much less the samples count that are sure already; 0 is the cross-entropy.
        floor: share of the cross-entropy that every sample keeps.
    """

    rules = (only_when("floor", gamma=ANY),)

    def __init__(self, *, gamma: NonNegativeFloat = 2.0, floor: Fraction = 0.0) -> None:
        super().__init__()
        self.gamma, self.floor = gamma, floor

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] from logits [B, C] and labels [B]."""
        losses = F.cross_entropy(logits.float(), labels, reduction="none")
        return losses * (self.floor + (1 - self.floor) * (1 - (-losses).exp()) ** self.gamma)
