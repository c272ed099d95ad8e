"""The contract of an adapter."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import nn

from hdx.backbones._base import Backbone


class Adapter(ABC):
    """Which parameters of a body train, and how the body behaves while they do."""

    @abstractmethod
    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze the backbone, add or free what trains, and return exactly the parameters that train (in a stable order)."""

    def training_mode(self, backbone: Backbone) -> None:
        """Put the backbone in the mode of the gradient phase; by default eval: frozen norm statistics, no dropout."""
        backbone.eval()

    def merge(self, backbone: Backbone) -> None:  # noqa: B027 - most adapters have nothing to fold
        """Fold what was added into the body's own weights; changes no output beyond rounding."""
