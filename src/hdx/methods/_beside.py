"""A head and what trains beside it in a phase and is thrown away afterwards."""

from __future__ import annotations

from torch import Tensor, nn


class Beside(nn.Module):
    """A phase's classifier: the head decides, the other parts are trained and checkpointed along with it.

    Args:
        head: features [B, D] to logits [B, C].
        parts: by name, such as an auxiliary head or a loss that has parameters.
    """

    def __init__(self, head: nn.Module, **parts: nn.Module) -> None:
        super().__init__()
        self.head, self.parts = head, nn.ModuleDict(parts)

    def forward(self, features: Tensor) -> Tensor:
        """The head's logits [B, C] of features [B, D]."""
        return self.head(features)
