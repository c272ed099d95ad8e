"""FiLM: a trained scale and shift per channel after every normalisation layer of a frozen body.

y = gamma * norm(x) + beta with norm(x) = weight * x^ + bias is the affine map (gamma * weight, gamma * bias + beta), so
the layer is parametrised rather than followed by another: training costs O(C) a layer and not a pass over the activations,
and merging writes the product back. In a layer with a fused activation FiLM therefore acts before the activation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hdx.adapters._base import Adapter
from hdx.adapters._norms import Norm, channels, ensure_affine, has_shift, norms, require_norms
from hdx.backbones._base import Backbone


class FilmScale(nn.Module):
    """weight -> gamma * weight, with gamma [C] initialised to 1."""

    def __init__(self, like: Tensor) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.ones_like(like))

    def forward(self, weight: Tensor) -> Tensor:
        """[C] to [C]."""
        return self.gamma * weight


class FilmShift(nn.Module):
    """bias -> gamma * bias + beta, with beta [C] initialised to 0 and gamma the scale's."""

    def __init__(self, like: Tensor, scale: FilmScale) -> None:
        super().__init__()
        self.beta = nn.Parameter(torch.zeros_like(like))
        self._scale = (scale,)  # in a tuple: gamma stays the scale's alone, once in the state_dict

    def forward(self, bias: Tensor) -> Tensor:
        """[C] to [C]."""
        return self._scale[0].gamma * bias + self.beta


class Film(Adapter):
    """A scale and a shift per channel after every normalisation layer; weights and statistics of the body are frozen.

    Works on batch, group, layer and RMS norms of CNNs and ViTs (an RMS norm has no shift to parametrise: scale only);
    layers without affine parameters get identity ones. Trainable parameters: twice the channels of all norms.

    Source: Perez et al. 2018, "FiLM"; Panos et al. 2023, "First Session Adaptation" (FSA-FiLM).
    """

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze the backbone and parametrise its norms. Raises: ConfigError when there are none."""
        backbone.requires_grad_(False)
        return [parameter for norm in require_norms(backbone, "film") for parameter in _modulate(norm)]

    def merge(self, backbone: Backbone) -> None:
        """Write gamma and beta into the norms' affine parameters, which become plain frozen tensors again."""
        for norm in norms(backbone):
            for name in ("bias", "weight"):
                if _is_modulated(norm, name):
                    parametrize.remove_parametrizations(norm, name, leave_parametrized=True)
        backbone.requires_grad_(False)


def _modulate(norm: Norm) -> list[nn.Parameter]:
    """Parametrise one layer; returns its gamma and, where it has a shift, beta."""
    ensure_affine(norm)
    norm.requires_grad_(False)
    assert norm.weight.numel() == channels(norm)
    scale = FilmScale(norm.weight.detach())
    parametrize.register_parametrization(norm, "weight", scale)
    if not has_shift(norm):
        return [scale.gamma]
    shift = FilmShift(norm.bias.detach(), scale)
    parametrize.register_parametrization(norm, "bias", shift)
    return [scale.gamma, shift.beta]


def _is_modulated(norm: Norm, name: str) -> bool:
    if not parametrize.is_parametrized(norm, name):
        return False
    return isinstance(norm.parametrizations[name][0], (FilmScale, FilmShift))
