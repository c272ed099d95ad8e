"""The contract of a pool."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

from torch import Tensor, nn

from hdx.backbones._base import Backbone
from hdx.rules import Rule


class Pool(nn.Module):
    """A map [B, D, h, w] or tokens [B, T, D] to one vector [B, n_features].

    Args:
        backbone: whose layout, width and prefix tokens the pool reads; it is not kept.

    Facts, read from source (`hdx.config.facts`):
        needs_cls: whether it reads the class token.
        trains_by: the option with which it has parameters that train along with the body; empty where it has none.
    """

    trains_by: ClassVar[str] = ""
    needs_cls: ClassVar[bool] = False
    rules: ClassVar[tuple[Rule, ...]] = ()

    n_features: int

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.layout = backbone.layout
        self.n_prefix_tokens = backbone.n_prefix_tokens
        self.n_features = backbone.n_features

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """[B, n_features]."""
