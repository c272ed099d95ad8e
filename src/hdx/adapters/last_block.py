"""Fine-tuning only the last block of a body."""

from __future__ import annotations

from typing import Literal

from torch import nn

from hdx.adapters._base import Adapter
from hdx.backbones._base import Backbone
from hdx.errors import ConfigError


class LastBlock(Adapter):
    """The last residual or transformer block, and the norm after it, train; everything before is frozen.

    Source: partial fine-tuning (Yosinski et al. 2014, "How transferable are features in deep neural networks?").

    Args:
        statistics: frozen keeps the whole body in eval mode, batch puts the last block (norms and dropout) in train mode.
    """

    def __init__(self, *, statistics: Literal["frozen", "batch"] = "frozen") -> None:
        super().__init__()
        self.statistics = statistics

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Free the parameters of `backbone.last_block()`. Raises: ConfigError when it has none."""
        backbone.requires_grad_(False)
        block = nn.ModuleList(backbone.last_block()).requires_grad_(True)
        parameters = list(block.parameters())
        if not parameters:
            raise ConfigError(
                f"adapter=last_block: the last block of {type(backbone).__name__} has no parameters.  (try adapter=full)"
            )
        return parameters

    def training_mode(self, backbone: Backbone) -> None:
        """Eval mode, but the last block in train mode where `statistics` is batch."""
        backbone.eval()
        if self.statistics == "batch":
            for module in backbone.last_block():
                module.train()
