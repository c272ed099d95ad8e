"""A feature from the middle of a backbone."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from hdx.backbones._base import Backbone


class Middle:
    """Listens to a backbone: after a forward pass `features` are those before its last stage, averaged over positions.

    Args:
        backbone: which is listened to until `close`.

    Attributes:
        n_features: D'; features: [B, D'] of the last forward pass.
    """

    features: Tensor

    def __init__(self, backbone: Backbone) -> None:
        module, self.n_features = backbone.middle()
        self.prefix = backbone.n_prefix_tokens
        self.handle = module.register_forward_hook(self._hear)

    def _hear(self, module: nn.Module, inputs: Any, output: Tensor) -> None:
        if output.ndim == 3:  # tokens [B, T, D']
            self.features = output[:, self.prefix :].mean(1)
        else:  # a map, [B, D', h, w] or [B, h, w, D']
            self.features = output.mean((2, 3) if output.shape[1] == self.n_features else (1, 2))

    def close(self) -> None:
        """Listen no longer."""
        self.handle.remove()
        self.__dict__.pop("features", None)
