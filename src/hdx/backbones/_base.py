"""The contract of a backbone."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from torch import Tensor, nn

from hdx.errors import ConfigError
from hdx.input_spec import InputSpec
from hdx.rules import Rule


class Block(NamedTuple):
    """A stage of a CNN, or a block of a transformer.

    Attributes:
        name: of the module in the backbone whose output it is.
        channels: D' of that output: a map [B, D', h, w] or [B, h, w, D'], or tokens [B, T, D'].
    """

    name: str
    channels: int


#: A block by its name, or by its place in `Backbone.named_blocks()`: -1 is the last.
Tap: TypeAlias = int | str


class Backbone(nn.Module):
    """Images [B, 3, S, S] float to a map [B, D, h, w] or tokens [B, T, D].

    Attributes:
        n_features: D.
        layout: "map" or "tokens"; on the class None where the options decide, as of a timm model.
        n_prefix_tokens: tokens before the patch tokens (cls, registers); 0 for maps.
        has_cls: whether the first token is a class token; on the class None where the options decide.
        input_spec: see InputSpec.
    """

    n_features: int
    layout: Literal["map", "tokens"] | None = "map"
    n_prefix_tokens: int = 0
    has_cls: bool | None = False
    input_spec: InputSpec
    rules: ClassVar[tuple[Rule, ...]] = ()

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Feature map or tokens of normalised images."""

    def named_blocks(self) -> list[Block]:
        """The blocks whose outputs can be tapped, from the images on; none where a backbone does not say.

        Named as torch names `named_modules`, since many a backbone has a module `blocks`.
        """
        return []

    def block(self, tap: Tap) -> Block:
        """A block by name or place. Raises: ConfigError where there is none."""
        found = self.named_blocks()
        named = {block.name: block for block in found} | dict(enumerate(found)) | {i - len(found): b for i, b in enumerate(found)}
        if tap not in named:
            known = f"its blocks are {', '.join(block.name for block in found)}" if found else "it names no blocks"
            raise ConfigError(f"backbone {type(self).__name__} has no block {tap}: {known}  (take another backbone)")
        return named[tap]

    def embed(self, images: Tensor) -> Tensor:
        """What the first of a transformer's blocks sees: tokens [B, T, D], the prefix tokens first.

        Raises: ConfigError where a backbone is not one whose tokens can be worked on between its blocks.
        """
        raise ConfigError(
            f"backbone {type(self).__name__} is no vision transformer whose tokens can be worked on between blocks: take "
            "backbone=vit_small_patch16, or another model of timm's VisionTransformer"
        )

    def run(self, tokens: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Tokens [B, T, D] through a transformer's blocks start, ..., stop - 1; without `stop` through the rest and what follows.

        `forward` is `run(embed(images))`. Any number of tokens will do, in any order. Raises: as `embed`.
        """
        return self.embed(tokens)

    @abstractmethod
    def last_block(self) -> list[nn.Module]:
        """Modules of the last residual/transformer block and whatever normalises after it (adapter `last_block`)."""
