"""A few large crops and several small ones."""

from __future__ import annotations

from hdx.augments._base import Augmentation, View
from hdx.augments._contrastive import jitter, view
from hdx.options import Fraction, NonNegativeFloat, NonNegativeInt, OpenFraction, PositiveInt


class MultiCrop(Augmentation):
    """Large views at the body's size, which show most of the image, and small ones at a share of it, which show little.

    Source: Caron et al. 2020, "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments" (SwAV); the areas of
        Caron et al. 2021 (DINO).

    Args:
        n_large, n_small: views of each kind.
        small: side of a small view, as a share of a large one's (96 of 224 in the papers).
        split: share of the area from which on a crop is large.
        least: smallest share of the area of a small crop.
        hflip: probability of a flip.
        strength: of the colour jitter, as in augment=barlow.
        jitter, grey, blur: probabilities.
    """

    shows = "several"

    def __init__(
        self,
        *,
        n_large: PositiveInt = 2,
        n_small: NonNegativeInt = 6,
        small: OpenFraction = 0.43,
        split: OpenFraction = 0.4,
        least: OpenFraction = 0.05,
        hflip: Fraction = 0.5,
        strength: NonNegativeFloat = 1.0,
        jitter: Fraction = 0.8,
        grey: Fraction = 0.2,
        blur: Fraction = 0.5,
    ) -> None:
        self.n_large, self.n_small, self.small, self.split, self.least = n_large, n_small, small, split, least
        self.hflip, self.strength, self.jitter, self.grey, self.blur = hflip, strength, jitter, grey, blur

    def views(self, size: int) -> tuple[View, ...]:
        """The large ones, then the small ones."""
        little = max(1, round(size * self.small))
        kinds = [(size, (self.split, 1.0))] * self.n_large + [(little, (self.least, self.split))] * self.n_small
        colours = jitter(self.jitter, self.strength)
        return tuple(view(side, area, hflip=self.hflip, jitter=colours, grey=self.grey, blur=self.blur) for side, area in kinds)
