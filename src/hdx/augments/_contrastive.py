"""What the views of contrastive methods have in common."""

from __future__ import annotations

from hdx.augments._base import Chain
from hdx.augments._geometry import Flip, Warp
from hdx.augments._photometric import Blur, Grey, Jitter, Solarize

RATIO = (3 / 4, 4 / 3)


def view(
    size: int, area: tuple[float, float], *, hflip: float, jitter: Jitter, grey: float, blur: float, solarize: float = 0.0
) -> Chain:
    """A resized crop of a share `area` of the image, then flip, colours, grey, blur and solarising at their probabilities."""
    steps = [Warp(size, area, RATIO), Flip(hflip), jitter, Grey(grey), Blur(blur), Solarize(solarize)]
    return Chain(steps, size)


def jitter(share: float, strength: float) -> Jitter:
    """The colour jitter of BYOL and what followed it: brightness and contrast 0.4, saturation 0.2, hue 0.1, times a strength."""
    return Jitter(share, 0.4 * strength, 0.4 * strength, 0.2 * strength, min(0.5, 0.1 * strength))
