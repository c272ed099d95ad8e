"""Shifts and flips, the field's plain augmentation; resized crops and rotations where they are asked for."""

from __future__ import annotations

from hdx.augments._base import Augmentation, Chain, Step, View
from hdx.augments._geometry import Erase, Flip, Shift, Warp
from hdx.options import Fraction, NonNegativeFloat, OpenFraction


class FlipCrop(Augmentation):
    """A random window of the image with a reflected border, and a flip from left to right.

    Source: Krizhevsky et al. 2012; the border of He et al. 2016 (4 of 32 pixels), reflected here; resized crops after Szegedy et
        al. 2015.

    Args:
        border: on each side, as a share of it; 0 shifts nothing.
        hflip: probability of a flip from left to right.
        vflip: probability of a flip upside down.
        area: smallest share of the area that a resized crop keeps; null crops and resizes nothing, 0.08 is ImageNet's usual.
        degrees: rotation, drawn evenly within both signs of it.
        erase: probability of a box of one colour over 2 to 33 % of the image (Zhong et al. 2020).
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
        self.border, self.hflip, self.vflip = border, hflip, vflip
        self.area, self.degrees, self.erase = area, degrees, erase

    def steps(self, size: int) -> list[Step]:
        """What a view consists of, in order; steps that change nothing are left out."""
        found: list[tuple[bool, Step]] = [
            (
                self.area is not None or self.degrees > 0,
                Warp(
                    size,
                    (1.0, 1.0) if self.area is None else (self.area, 1.0),
                    (1.0, 1.0) if self.area is None else (3 / 4, 4 / 3),
                    self.degrees,
                ),
            ),
            (self.border > 0, Shift(self.border)),
            (self.hflip > 0, Flip(self.hflip)),
            (self.vflip > 0, Flip(self.vflip, vertical=True)),
            (self.erase > 0, Erase(self.erase)),
        ]
        return [step for wanted, step in found if wanted]

    def views(self, size: int) -> tuple[View, ...]:
        """One."""
        return (Chain(self.steps(size), size),)
