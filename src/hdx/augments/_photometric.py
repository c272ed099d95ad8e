"""Steps that change colours and leave pixels in their place; the arithmetic is kornia's, on [0, 1].

Images of one channel have no saturation and no hue: those steps leave them as they are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from hdx.augments._base import Step, chosen, to_uint8

ORDERS = list(itertools.permutations(range(4)))  # of brightness, contrast, saturation, hue


@cache
def kornia() -> Any:
    """The module, imported when the first image is changed."""
    import kornia

    return kornia


def changed(images: Tensor, which: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Images [B, C, H, W] uint8 where `change`, of floats in [0, 1], was applied to the samples of `which` [B] bool."""
    rows = which.nonzero()[:, 0]
    if not len(rows):
        return images
    return images.index_copy(0, rows, to_uint8(255 * change(images[rows].float() / 255)))


def brightness(x: Tensor, factor: Tensor) -> Tensor:
    """Pixels times a factor [B]."""
    return kornia().enhance.adjust_brightness_accumulative(x, factor)


def contrast(x: Tensor, factor: Tensor) -> Tensor:
    """Drawn together (factor < 1) or apart about the mean of the grey image."""
    grey = x if x.shape[1] == 1 else kornia().color.rgb_to_grayscale(x)
    mean = grey.mean((1, 2, 3), keepdim=True)
    return (mean + (x - mean) * factor[:, None, None, None]).clamp(0, 1)


def saturation(x: Tensor, factor: Tensor) -> Tensor:
    """Drawn together or apart about the grey image."""
    return x if x.shape[1] == 1 else kornia().enhance.adjust_saturation_with_gray_subtraction(x, factor)


def hue(x: Tensor, turn: Tensor) -> Tensor:
    """Hues turned by a share [B] of the circle, in [-0.5, 0.5]."""
    return x if x.shape[1] == 1 else kornia().enhance.adjust_hue(x, 2 * math.pi * turn)


class Jitter(Step):
    """Brightness, contrast, saturation and hue in an order of their own for each sample.

    Args:
        share: probability.
        brightness, contrast, saturation: factors are drawn evenly from [max(0, 1 - s), 1 + s].
        hue: turns are drawn evenly from [-h, h], of a circle of length 1.
    """

    n_draws = 6

    def __init__(self, share: float, brightness: float, contrast: float, saturation: float, hue: float) -> None:
        self.share, self.brightness, self.contrast, self.saturation, self.hue = share, brightness, contrast, saturation, hue

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8; draws: whether, order, four factors."""
        order = torch.tensor(ORDERS, device=images.device)[(draws[:, 1] * len(ORDERS)).long()]  # [B, 4]
        strengths = (self.brightness, self.contrast, self.saturation)
        values = [max(0.0, 1 - s) + (1 + s - max(0.0, 1 - s)) * draws[:, 2 + i] for i, s in enumerate(strengths)]
        values.append(self.hue * (2 * draws[:, 5] - 1))
        concerned = chosen(self.share, draws[:, 0])
        for place, kind in itertools.product(range(4), range(4)):
            which = concerned & (order[:, place] == kind)
            images = changed(images, which, lambda x, k=kind, w=which: _KINDS[k](x, values[k][w]))  # type: ignore[misc]
        return images


_KINDS = (brightness, contrast, saturation, hue)


class Grey(Step):
    """Colour images without their colours.

    Args:
        share: probability.
    """

    n_draws = 1

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8."""
        if images.shape[1] == 1:
            return images
        return changed(images, chosen(self.share, draws[:, 0]), lambda x: kornia().color.rgb_to_grayscale(x).expand_as(x))


class Blur(Step):
    """A Gaussian blur whose kernel spans a tenth of the image.

    Args:
        share: probability; sigma: in pixels, drawn evenly (Chen et al. 2020).
    """

    n_draws = 2

    def __init__(self, share: float, sigma: tuple[float, float] = (0.1, 2.0)) -> None:
        self.share, self.sigma = share, sigma

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8."""
        side = min(images.shape[-2:])
        kernel = max(3, 2 * (side // 20) + 1)
        low, high = self.sigma
        sigma = low + (high - low) * draws[:, 1]
        which = chosen(self.share, draws[:, 0])
        wide = sigma[which, None].expand(-1, 2).clamp(min=1e-3)
        return changed(images, which, lambda x: kornia().filters.gaussian_blur2d(x, (kernel, kernel), wide))


class Solarize(Step):
    """Pixels of at least half the range inverted.

    Args:
        share: probability.
    """

    n_draws = 1

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8."""
        which = chosen(self.share, draws[:, 0])[:, None, None, None]
        return torch.where(which & (images >= 128), 255 - images, images)
