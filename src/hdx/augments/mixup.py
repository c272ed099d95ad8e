"""MixUp."""

from __future__ import annotations

from hdx.augments._base import Mix
from hdx.augments._mix import MixUp
from hdx.augments.flip_crop import FlipCrop
from hdx.options import Fraction, NonNegativeFloat, OpenFraction, PositiveFloat


class Mixup(FlipCrop):
    """Shifts and flips, then weighted means of pairs of images, with the same means of their labels as targets.

    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization"; one weight a batch, as in the authors' code.

    Args:
        alpha: of the weight's Beta(alpha, alpha).
        border, hflip, vflip, area, degrees, erase: as in augment=flip_crop.
    """

    mixes = True

    def __init__(
        self,
        *,
        alpha: PositiveFloat = 0.2,
        border: Fraction = 0.125,
        hflip: Fraction = 0.5,
        vflip: Fraction = 0.0,
        area: OpenFraction | None = None,
        degrees: NonNegativeFloat = 0.0,
        erase: Fraction = 0.0,
    ) -> None:
        super().__init__(border=border, hflip=hflip, vflip=vflip, area=area, degrees=degrees, erase=erase)
        self.alpha = alpha

    def mix(self) -> Mix:
        """Weighted means."""
        return MixUp(self.alpha)
