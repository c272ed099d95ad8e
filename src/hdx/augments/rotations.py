"""Quarter turns."""

from __future__ import annotations

from typing import Literal

from hdx.augments._base import Augmentation, Chain, View
from hdx.augments._geometry import Flip, Shift, Turn
from hdx.options import Fraction


class QuarterTurns(Augmentation):
    """An image in a random quarter turn, or in all four as four views.

    Source: Gidaris et al. 2018, "Unsupervised Representation Learning by Predicting Image Rotations".

    Args:
        show: one view in a turn drawn for each image, or four, view k turned k times counter-clockwise.
        border, hflip: before the turn, as in augment=flip_crop.
    """

    n_views = 0  # the options say how many

    def __init__(self, *, show: Literal["one", "all"] = "all", border: Fraction = 0.0, hflip: Fraction = 0.0) -> None:
        self.show, self.border, self.hflip = show, border, hflip

    def views(self, size: int) -> tuple[View, ...]:
        """One or four."""
        before = [Shift(self.border), Flip(self.hflip)]
        turns = [None] if self.show == "one" else [0, 1, 2, 3]
        return tuple(Chain([*before, Turn(k)], size) for k in turns)
