"""The layers of a body, and what an adapter puts on one: a change of its weights, or of what goes in.

All of it lies in the layer itself, as parametrisations and as hooks that are methods of the layer's own parts, so that a copy of
the body is whole and its own. Families of adapters are a weight and a delta (LoRA, its block and sparse forms, scale and shift),
or an edit of what the heads of an attention give before its output projection (`attentions`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn.utils import parametrize

from hdx.backbones._base import Backbone
from hdx.errors import ConfigError

CONVOLUTIONS = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
Layer: TypeAlias = Any  # an nn.Linear or a convolution, of torch or derived: `weight` [out, in, ...] and perhaps `bias` [out]


def layers(backbone: Backbone) -> dict[str, Layer]:
    """The linear and convolutional layers by name, in the order of `named_modules`; not those that the features do not reach."""
    found = backbone.named_modules()
    return {name: part for name, part in found if isinstance(part, (nn.Linear, *CONVOLUTIONS)) and "weight" in part._parameters}


def chosen(backbone: Backbone, targets: Sequence[str], adapter: str) -> dict[str, Layer]:
    """Those of `layers` whose names match one of the patterns `targets` (`*`, `?`, `[...]`).

    Raises: ConfigError for a pattern that no layer matches.
    """
    known = layers(backbone)
    for pattern in targets:
        if not any(fnmatchcase(name, pattern) for name in known):
            some = ", ".join(list(known)[-3:]) or "none"
            raise ConfigError(
                f"adapter.targets: no linear or convolutional layer of {type(backbone).__name__} matches '{pattern}', among its "
                f"{len(known)} are {some}.  (adapter={adapter}: '*' takes all)"
            )
    return {name: layer for name, layer in known.items() if any(fnmatchcase(name, pattern) for pattern in targets)}


def attentions(backbone: Backbone) -> dict[str, tuple[nn.Linear, int]]:
    """Output projection and number of heads of every attention, by the attention's name.

    What goes into the projection, [B, T, heads * d] seen as [B, T, heads, d], is what each head gives.
    """
    found = {}
    for name, part in backbone.named_modules():
        proj, n_heads = getattr(part, "proj", None), getattr(part, "num_heads", None)
        if isinstance(proj, nn.Linear) and isinstance(n_heads, int) and proj.in_features % n_heads == 0:
            found[name] = (proj, n_heads)
    return found


class InputEdit(nn.Module):
    """What is done to a layer's inputs before the layer; subclasses define `forward`, of the inputs, and lie in the layer."""

    def put_on(self, layer: nn.Module) -> None:
        """Before `layer`, as its part `input_edit`."""
        layer.add_module("input_edit", self)
        layer.register_forward_pre_hook(self._edited)

    def _edited(self, layer: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (self(inputs[0]), *inputs[1:])


def change_weight(layer: Layer, delta: nn.Module, name: str = "weight") -> None:
    """From now on the layer's parameter `name` is `delta` of what it was, in every use of it; what it was is frozen."""
    getattr(layer, name).requires_grad_(False)
    parametrize.register_parametrization(layer, name, delta)


def merge_weights(backbone: Backbone, kind: type[nn.Module]) -> None:
    """Write what `change_weight` put on with deltas of `kind` into plain, frozen parameters: bit for bit those that were used."""
    for layer in list(backbone.modules()):
        for name in [name for name, _ in _changed(layer, kind)]:
            deltas = set(layer.parametrizations[name])  # type: ignore[union-attr,index,arg-type]
            parametrize.remove_parametrizations(layer, name, leave_parametrized=True)
            for key, hook in list(layer._forward_hooks.items()):
                if getattr(hook, "__self__", None) in deltas:
                    del layer._forward_hooks[key]
    backbone.requires_grad_(False)


def deltas(backbone: Backbone, kind: type[nn.Module]) -> Iterator[tuple[Layer, Any]]:
    """Each layer with what `change_weight` put on it, of `kind`."""
    for layer in backbone.modules():
        yield from ((layer, delta) for _, delta in _changed(layer, kind))


def _changed(layer: nn.Module, kind: type[nn.Module]) -> Iterator[tuple[str, nn.Module]]:
    if parametrize.is_parametrized(layer):
        for name, chain in layer.parametrizations.items():  # type: ignore[union-attr,operator]
            yield from ((name, delta) for delta in chain if isinstance(delta, kind))


def applied(layer: Layer, inputs: Tensor, weight: Tensor) -> Tensor:
    """What a linear or convolutional layer gives of `inputs` with another `weight` and no bias."""
    if isinstance(layer, nn.Linear):
        return nn.functional.linear(inputs, weight)
    return layer._conv_forward(inputs, weight, None)
