"""The contract of a pool."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor, nn

from hdx.backbones._base import Backbone


class Pool(nn.Module):
    """A map [B, D, h, w] or tokens [B, T, D] to one vector [B, n_features].

    Args:
        backbone: whose layout, width and prefix tokens the pool reads; it is not kept.
    """

    n_features: int

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.layout = backbone.layout
        self.n_prefix_tokens = backbone.n_prefix_tokens
        self.n_features = backbone.n_features

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """[B, n_features]."""
