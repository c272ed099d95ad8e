"""CutMix."""

from __future__ import annotations

from hdx.augments._base import Mix
from hdx.augments._mix import CutMix
from hdx.augments.flip_crop import FlipCrop
from hdx.options import Fraction, NonNegativeFloat, OpenFraction, PositiveFloat


class Cutmix(FlipCrop):
    """Shifts and flips, then a box of another image of the batch in each, with labels weighted by the areas as targets.

    Source: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features"; one box a
        batch, cut at the border, as in the authors' code.

    Args:
        alpha: of the kept area's Beta(alpha, alpha).
        chance: probability that a batch is mixed (0.5 on CIFAR and 1 on ImageNet in the paper).
        border, hflip, vflip, area, degrees, erase: as in augment=flip_crop.
    """

    mixes = True

    def __init__(
        self,
        *,
        alpha: PositiveFloat = 1.0,
        chance: Fraction = 0.5,
        border: Fraction = 0.125,
        hflip: Fraction = 0.5,
        vflip: Fraction = 0.0,
        area: OpenFraction | None = None,
        degrees: NonNegativeFloat = 0.0,
        erase: Fraction = 0.0,
    ) -> None:
        super().__init__(border=border, hflip=hflip, vflip=vflip, area=area, degrees=degrees, erase=erase)
        self.alpha, self.chance = alpha, chance

    def mix(self) -> Mix:
        """Boxes."""
        return CutMix(self.alpha, self.chance)
