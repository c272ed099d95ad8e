"""What a body wants to see: backbones say it, and transforms make it."""

from __future__ import annotations

from dataclasses import dataclass


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
