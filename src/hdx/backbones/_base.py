"""The contract of a backbone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from hdx.errors import ConfigError
from hdx.rules import Rule


@dataclass(frozen=True)
class InputSpec:
    """What a backbone wants to see; the eval transform is made from it and is part of the body's digest.

    Attributes:
        image_size: side in pixels, or None for the dataset's own size, but at least `min_size`.
        mean, std: per channel, on the [0, 1] scale; three values.
        interpolation: "bilinear" or "bicubic", always antialiased.
        crop: share of the resized image that the centre crop keeps (timm's crop_pct); 1.0 means no crop.
        min_size: see `image_size`.
    """

    image_size: int | None
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    crop: float = 1.0
    min_size: int = 32


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

    def middle(self) -> tuple[nn.Module, int]:
        """The module whose output is the map or the tokens before the last stage, and its channels (USKD's weak head).

        Raises: ConfigError where a backbone does not say.
        """
        raise ConfigError(
            f"backbone={type(self).__name__} does not say what its middle is, which method=uskd needs: take another"
        )

    @abstractmethod
    def last_block(self) -> list[nn.Module]:
        """Modules of the last residual/transformer block and whatever normalises after it (adapter `last_block`)."""
