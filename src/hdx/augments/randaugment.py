"""RandAugment: a few operations of a table, all at one strength."""

from __future__ import annotations

from hdx.augments._base import Chain, View
from hdx.augments._policies import Drawn, table
from hdx.augments.flip_crop import FlipCrop
from hdx.options import Fraction, NonNegativeFloat, NonNegativeInt, OpenFraction, PositiveInt

BINS = 31


class RandAugment(FlipCrop):
    """Shifts and flips, then `n` of fourteen operations, all at one strength, each sample its own.

    Source: Cubuk et al. 2020, "RandAugment: Practical automated data augmentation with a reduced search space"; ranges of the
        operations as torchvision documents them.

    Args:
        n: operations an image.
        magnitude: strength, of 30.
        border, hflip, vflip, area, degrees: before that, as in augment=flip_crop.
        erase: after it, as in augment=flip_crop.
    """

    def __init__(
        self,
        *,
        n: PositiveInt = 2,
        magnitude: NonNegativeInt = 9,
        border: Fraction = 0.125,
        hflip: Fraction = 0.5,
        vflip: Fraction = 0.0,
        area: OpenFraction | None = None,
        degrees: NonNegativeFloat = 0.0,
        erase: Fraction = 0.0,
    ) -> None:
        super().__init__(border=border, hflip=hflip, vflip=vflip, area=area, degrees=degrees, erase=erase)
        self.drawn = Drawn(table(shear=0.3, translate=150 / 331, degrees=30, factor=0.9, bits=4), n, magnitude / (BINS - 1), BINS)

    def views(self, size: int) -> tuple[View, ...]:
        """One."""
        steps = self.steps(size)
        last = len(steps) - (self.erase > 0)
        return (Chain([*steps[:last], self.drawn, *steps[last:]], size),)
