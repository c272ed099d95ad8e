"""Images and targets made of two samples of a batch."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from hdx.augments._base import to_uint8


def share(alpha: float, generator: torch.Generator) -> float:
    """Beta(alpha, alpha), by numpy from a seed that `generator` gives."""
    seed = int(torch.randint(2**63 - 1, (1,), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


class MixUp:
    """Each sample and another one of the batch, in one weighted mean of pixels and of targets.

    Args:
        alpha: of the weight's Beta(alpha, alpha), one a batch.
    """

    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [B, C, h, w] uint8 and targets [B, C]; the weight and the pairs come from `generator`, on the CPU."""
        weight = share(self.alpha, generator)
        other = torch.randperm(len(images), generator=generator).to(images.device)
        mixed = to_uint8(weight * images.float() + (1 - weight) * images[other].float())
        return mixed, weight * targets + (1 - weight) * targets[other]


class CutMix:
    """Each sample with a box of another one of the batch in it; targets are weighted by the areas.

    Args:
        alpha: of the kept area's Beta(alpha, alpha), one a batch.
        chance: probability that a batch is mixed.
    """

    def __init__(self, alpha: float, chance: float) -> None:
        self.alpha, self.chance = alpha, chance

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [B, C, h, w] uint8 and targets [B, C]; box and pairs come from `generator`, on the CPU."""
        mixes = float(torch.rand(1, generator=generator)) < self.chance
        weight = share(self.alpha, generator)
        other = torch.randperm(len(images), generator=generator).to(images.device)
        y, x = torch.rand(2, generator=generator).tolist()
        if not mixes:
            return images, targets
        height, width = images.shape[-2:]
        top, bottom, left, right = box(height, width, weight, y, x)
        mixed = images.clone()
        mixed[..., top:bottom, left:right] = images[other, :, top:bottom, left:right]
        kept = 1 - (bottom - top) * (right - left) / (height * width)
        return mixed, kept * targets + (1 - kept) * targets[other]


def box(height: int, width: int, weight: float, y: float, x: float) -> tuple[int, int, int, int]:
    """Top, bottom, left, right of a box of a share 1 - weight of the area about the centre (y, x) in [0, 1), cut at borders."""
    tall, broad = (int(side * math.sqrt(1 - weight)) for side in (height, width))
    middle_y, middle_x = int(y * height), int(x * width)
    top, bottom = max(0, middle_y - tall // 2), min(height, middle_y + tall // 2)
    left, right = max(0, middle_x - broad // 2), min(width, middle_x + broad // 2)
    return top, bottom, left, right
