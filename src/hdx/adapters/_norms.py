"""Finding the normalisation layers of a body and the affine parameters of each."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from hdx.backbones._base import Backbone
from hdx.errors import ConfigError

BATCH_NORM = (nn.modules.batchnorm._BatchNorm,)  # the ones with running statistics; timm's BatchNormAct2d is one
Norm: TypeAlias = Any  # an nn.Module with `weight` and perhaps `bias`, whichever class of torch or timm it is
KNOWN = (nn.modules.batchnorm._NormBase, nn.GroupNorm, nn.LayerNorm, nn.RMSNorm)


def is_norm(module: nn.Module) -> bool:
    """Whether a module normalises and has, or could have, a trainable affine map per channel.

    timm's own layers (RmsNorm, SimpleNorm, EvoNorm, …) are known by their name and a one-dimensional weight. A weight that
    is a buffer (torchvision's FrozenBatchNorm2d, layers that the body's forward pass does not reach) does not count.
    """
    if "weight" in module._buffers:
        return False
    if isinstance(module, KNOWN):
        return not isinstance(module, (nn.LayerNorm, nn.RMSNorm)) or len(module.normalized_shape) == 1
    weight = getattr(module, "weight", None)
    return "Norm" in type(module).__name__ and isinstance(weight, Tensor) and weight.ndim == 1


def norms(backbone: Backbone) -> list[Norm]:
    """All normalisation layers, in the order of `named_modules`."""
    return [module for module in backbone.modules() if is_norm(module)]


def require_norms(backbone: Backbone, adapter: str) -> list[Norm]:
    """As `norms`. Raises: ConfigError naming the adapter where there are none."""
    found = norms(backbone)
    if not found:
        body = type(backbone).__name__
        raise ConfigError(f"adapter={adapter}: {body} has no normalisation layers to train.  (try adapter=full or adapter=none)")
    return found


def has_shift(norm: Norm) -> bool:
    """Whether the layer's forward pass reads a bias; RMS norms do not."""
    return "bias" in norm._parameters or parametrize.is_parametrized(norm, "bias")


def ensure_affine(norm: Norm) -> None:
    """Give a layer built without scale (or shift) an identity one."""
    like = _reference(norm)
    if norm.weight is None:
        norm.weight = nn.Parameter(torch.ones(channels(norm), device=like.device, dtype=like.dtype))
    if has_shift(norm) and norm.bias is None:
        norm.bias = nn.Parameter(torch.zeros(channels(norm), device=like.device, dtype=like.dtype))


def channels(norm: Norm) -> int:
    """Number of channels that the affine map of a layer scales."""
    if norm.weight is not None:
        return norm.weight.numel()
    if isinstance(norm, nn.GroupNorm):
        return norm.num_channels
    return norm.normalized_shape[-1] if isinstance(norm, (nn.LayerNorm, nn.RMSNorm)) else int(norm.num_features)


def _reference(norm: Norm) -> Tensor:
    """A tensor of the layer with its device and dtype."""
    tensors = [tensor for tensor in (*norm.parameters(), *norm.buffers()) if tensor.is_floating_point()]
    return tensors[0] if tensors else torch.zeros(0)
