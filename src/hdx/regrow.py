"""Layers of other widths: a module takes the shapes of a checkpoint whose layers have grown or shrunk."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


def regrow(module: nn.Module, state: Mapping[str, Tensor]) -> dict[nn.Parameter, nn.Parameter]:
    """Give parameters and buffers of `module` the shapes of `state`, by name; their values are undefined until they are loaded.

    Names that the module does not have, and those that fit, are left alone. What layers say of their own width is kept true.

    Returns: the old parameters and what stands in their place.
    """
    replaced = {}
    for name, value in state.items():
        path, _, leaf = name.rpartition(".")
        owner = _owner(module, path)
        own = getattr(owner, leaf, None)
        if not isinstance(own, Tensor) or own.shape == value.shape:
            continue
        fresh = torch.zeros(value.shape, dtype=own.dtype, device=own.device)
        if isinstance(own, nn.Parameter):
            replaced[own] = nn.Parameter(fresh, requires_grad=own.requires_grad)
            setattr(owner, leaf, replaced[own])
        else:
            setattr(owner, leaf, fresh)
        _tell(owner)
    return replaced


def _owner(module: nn.Module, path: str) -> nn.Module | None:
    try:
        return module.get_submodule(path)
    except AttributeError:
        return None


def _tell(layer: nn.Module | None) -> None:
    """Bring a layer's numbers in line with its weight."""
    if isinstance(layer, nn.Conv2d):
        depthwise = layer.groups == layer.in_channels and layer.groups > 1
        layer.groups = len(layer.weight) if depthwise else layer.groups
        layer.out_channels, layer.in_channels = len(layer.weight), layer.weight.shape[1] * layer.groups
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d):
        layer.num_features = len(layer.weight)
    elif isinstance(layer, nn.LayerNorm):
        layer.normalized_shape = tuple(layer.weight.shape)
