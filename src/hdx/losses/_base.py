"""The contract of a loss."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn


class Loss(nn.Module):
    """One value per sample, so that ranks with unequal shards weigh every sample alike."""

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] from logits [B, C] and labels [B] int64; 16-bit logits are computed in float32."""
