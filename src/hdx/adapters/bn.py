"""Training only the affine parameters of the normalisation layers."""

from __future__ import annotations

from typing import Literal

from torch import nn

from hdx.adapters._base import Adapter
from hdx.adapters._norms import BATCH_NORM, ensure_affine, require_norms
from hdx.backbones._base import Backbone


class NormAffine(Adapter):
    """Scale and shift of every normalisation layer train; all other weights are frozen.

    The paper trains from random initialisation with batch statistics; here the body is usually pretrained. A layer without
    affine parameters gets identity ones.

    Source: Frankle et al. 2021, "Training BatchNorm and Only BatchNorm".

    Args:
        statistics: batch normalises by the batch and updates the running statistics while training, frozen keeps the body's.
    """

    def __init__(self, *, statistics: Literal["batch", "frozen"] = "batch") -> None:
        super().__init__()
        self.statistics = statistics

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze all but the norms' affine parameters. Raises: ConfigError when there are no norms."""
        backbone.requires_grad_(False)
        parameters: list[nn.Parameter] = []
        for norm in require_norms(backbone, "bn"):
            ensure_affine(norm)
            affine = [norm.weight, getattr(norm, "bias", None)]
            parameters += [parameter for parameter in affine if isinstance(parameter, nn.Parameter)]
        for parameter in parameters:
            parameter.requires_grad_(True)
        return parameters

    def training_mode(self, backbone: Backbone) -> None:
        """Eval mode, but batch norms in train mode where `statistics` is batch."""
        backbone.eval()
        for module in backbone.modules():
            if isinstance(module, BATCH_NORM):
                module.training = self.statistics == "batch"  # not .train(): timm's layers hold dropout inside
