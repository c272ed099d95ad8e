"""Average pooling."""

from __future__ import annotations

from torch import Tensor

from hdx.pools._base import Pool


class Avg(Pool):
    """Mean over positions: over height and width of a map, over the patch tokens (without class and register tokens).

    Source: Lin et al. 2014, "Network In Network" (global average pooling).

    Args:
        backbone: whose layout, width and prefix tokens the pool reads.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_features] from a map [B, D, h, w] or tokens [B, T, D]."""
        return x.mean((2, 3)) if self.layout == "map" else x[:, self.n_prefix_tokens :].mean(1)
