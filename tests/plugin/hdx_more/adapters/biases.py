"""Training only the biases."""

from __future__ import annotations

from torch import nn

from hdx.adapters._base import Adapter
from hdx.backbones._base import Backbone


class Biases(Adapter):
    """Every bias of the body trains, those of its norms too; all weights are frozen.

    Source: Ben Zaken et al. 2022, "BitFit".
    """

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze all but the biases."""
        backbone.requires_grad_(False)
        biases = [parameter for name, parameter in backbone.named_parameters() if name.endswith("bias")]
        for parameter in biases:
            parameter.requires_grad_(True)
        return biases
