"""No adapter: the whole body stays frozen."""

from __future__ import annotations

from torch import nn

from hdx.adapters._base import Adapter
from hdx.backbones._base import Backbone


class NoAdapter(Adapter):
    """Nothing of the body trains; only the head does, if it has parameters.

    Source: the "no adaptation" arm of Panos et al. 2023.
    """

    trains = False

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze the backbone; returns no parameters."""
        backbone.requires_grad_(False)
        return []
