"""The contract of an adapter."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any, ClassVar, Literal

from torch import Tensor, nn

from hdx.backbones._base import Backbone
from hdx.rules import Rule

HOOKS = ("_forward_pre_hooks", "_forward_hooks", "_backward_pre_hooks", "_backward_hooks")


class Adapter(nn.Module):
    """Which parameters of a body train, and what stands between its images and its map or tokens.

    An adapter is a part of the body: what it holds is in the body's state, digest, checkpoints and copies, and on its device.
    What belongs to one layer is best put on that layer (`hdx.adapters._layers`); what acts on tokens between blocks goes into
    `forward`. Hooks are methods of modules of the body, which a copy of the body copies too; it refuses others (`foreign_hooks`).

    Attributes:
        n_extra_tokens: tokens that `forward` puts after the backbone's prefix tokens; pools skip them as they skip those.

    Facts, read from source (`hdx.config.facts`):
        layout: the layout of the backbones that it goes with: map, tokens or any.
        trains: whether anything of the body trains with it; a config in which nothing trains is refused.
    """

    layout: ClassVar[Literal["map", "tokens", "any"]] = "any"
    trains: ClassVar[bool] = True
    rules: ClassVar[tuple[Rule, ...]] = ()
    n_extra_tokens: int = 0

    def __init__(self) -> None:
        super().__init__()

    @abstractmethod
    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze the backbone, add or free what trains, and return exactly the parameters that train (in a stable order)."""

    def forward(self, backbone: Backbone, images: Tensor) -> Tensor:
        """The map [B, D, h, w] or tokens [B, T, D] of transformed images [B, 3, S, S]; by default the backbone's."""
        return backbone(images)

    def penalty(self) -> Tensor | float:
        """Added once to the loss of every batch that trains the body."""
        return 0.0

    def training_mode(self, backbone: Backbone) -> None:
        """Put the backbone in the mode of the gradient phase; by default eval: frozen norm statistics, no dropout."""
        backbone.eval()

    def merge(self, backbone: Backbone) -> None:  # noqa: B027 - most adapters have nothing to fold
        """Fold what was added into the body's own weights; changes no output beyond rounding."""


def hooks(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """`(name of the submodule, hook)` of all that is called around the forward and backward passes of a module's parts."""
    for name, part in module.named_modules():
        yield from ((name, hook) for table in HOOKS for hook in getattr(part, table).values())
        if callable(own := vars(part).get("forward")):  # a forward pass set on the instance
            yield name, own


def foreign_hooks(body: nn.Module) -> list[tuple[str, Any]]:
    """Those of `hooks(body)` that are no methods of its own modules: copies of the body would go on calling the original's."""
    inside = {id(part) for part in body.modules()}
    return [(name, hook) for name, hook in hooks(body) if id(getattr(hook, "__self__", hook)) not in inside]
