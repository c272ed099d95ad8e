"""Random erasing."""

from __future__ import annotations

from typing import Literal

from hdx.augments._base import Augmentation, Chain, View
from hdx.augments._geometry import Erase, Flip, Shift
from hdx.options import Fraction, OpenFraction, PositiveFloat


class Erasing(Augmentation):
    """Shifts and flips, then a box of one colour over a part of the image.

    Source: Zhong et al. 2020, "Random Erasing Data Augmentation"; the box is of one colour, where theirs is of noise.

    Args:
        share: probability of a box.
        least, most: of the image's area that it covers.
        ratio: largest ratio of its sides.
        fill: a colour drawn for each box, or black (cutout).
        border, hflip: as in augment=flip_crop.
    """

    def __init__(
        self,
        *,
        share: Fraction = 0.5,
        least: OpenFraction = 0.02,
        most: OpenFraction = 0.4,
        ratio: PositiveFloat = 3.33,
        fill: Literal["colour", "black"] = "colour",
        border: Fraction = 0.125,
        hflip: Fraction = 0.5,
    ) -> None:
        self.box = Erase(share, (least, max(least, most)), (1 / ratio, ratio), fill)
        self.border, self.hflip = border, hflip

    def views(self, size: int) -> tuple[View, ...]:
        """One."""
        return (Chain([Shift(self.border), Flip(self.hflip), self.box], size),)
