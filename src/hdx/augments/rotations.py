"""Quarter turns."""

from __future__ import annotations

from hdx.augments._base import Augmentation, Chain, View
from hdx.augments._geometry import Flip, Shift, Turn
from hdx.options import Fraction


class QuarterTurns(Augmentation):
    """An image in all four quarter turns: view k is turned k times counter-clockwise.

    Source: Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations".

    Args:
        border, hflip: before the turn, as in augment=flip_crop.
    """

    shows = "several"

    def __init__(self, *, border: Fraction = 0.0, hflip: Fraction = 0.0) -> None:
        self.border, self.hflip = border, hflip

    def views(self, size: int) -> tuple[View, ...]:
        """Four."""
        return tuple(Chain([Shift(self.border), Flip(self.hflip), Turn(k)], size) for k in range(4))
