"""Full fine-tuning as an adapter: every parameter of the body trains."""

from __future__ import annotations

from torch import nn

from hdx.adapters._base import Adapter
from hdx.backbones._base import Backbone
from hdx.errors import ConfigError


class Full(Adapter):
    """Every parameter of the body trains, in train mode: batch statistics, dropout and drop path are on.

    Source: the "FSA" arm of Panos et al. 2023.
    """

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Free the whole backbone. Raises: ConfigError when it has no parameters."""
        parameters = list(backbone.requires_grad_(True).parameters())
        if not parameters:
            raise ConfigError(f"adapter=full: {type(backbone).__name__} has no parameters.  (try adapter=none)")
        return parameters

    def training_mode(self, backbone: Backbone) -> None:
        """Train mode."""
        backbone.train()
