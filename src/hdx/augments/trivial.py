"""TrivialAugment: one operation of a table at a strength drawn for each image."""

from __future__ import annotations

from hdx.augments._base import Chain, View
from hdx.augments._policies import Drawn, table
from hdx.augments.flip_crop import FlipCrop
from hdx.options import Fraction, NonNegativeFloat, OpenFraction

BINS = 31


class Trivial(FlipCrop):
    """Shifts and flips, then one of fourteen operations at a random strength; there is nothing to tune.

    Source: Müller and Hutter 2021, "TrivialAugment: Tuning-free Yet State-of-the-Art Data Augmentation", the wide space. Its
        translations of at most 32 pixels are a share here, of images of 224.

    Args:
        border, hflip, vflip, area, degrees: before that, as in augment=flip_crop.
        erase: after it, as in augment=flip_crop.
    """

    def __init__(
        self,
        *,
        border: Fraction = 0.125,
        hflip: Fraction = 0.5,
        vflip: Fraction = 0.0,
        area: OpenFraction | None = None,
        degrees: NonNegativeFloat = 0.0,
        erase: Fraction = 0.0,
    ) -> None:
        super().__init__(border=border, hflip=hflip, vflip=vflip, area=area, degrees=degrees, erase=erase)
        self.drawn = Drawn(table(shear=0.99, translate=32 / 224, degrees=135, factor=0.99, bits=2), 1, None, BINS)

    def views(self, size: int) -> tuple[View, ...]:
        """One."""
        steps = self.steps(size)
        last = len(steps) - (self.erase > 0)
        return (Chain([*steps[:last], self.drawn, *steps[last:]], size),)
