"""The class token as the feature."""

from __future__ import annotations

from torch import Tensor

from hdx.backbones._base import Backbone
from hdx.errors import ConfigError
from hdx.pools._base import Pool


class Cls(Pool):
    """The class token of a transformer.

    Source: Dosovitskiy et al. 2021, "An Image is Worth 16x16 Words".

    Args:
        backbone: whose first token is the class token.
    """

    needs_cls = True

    def __init__(self, backbone: Backbone) -> None:
        if not backbone.has_cls:
            raise ConfigError(f"pool=cls needs a class token, and {type(backbone).__name__} gives none.  (try pool=avg)")
        super().__init__(backbone)

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_features] from tokens [B, T, D]."""
        return x[:, 0]
