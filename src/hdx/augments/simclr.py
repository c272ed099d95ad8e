"""The two views of contrastive learning."""

from __future__ import annotations

from hdx.augments._base import Augmentation, View
from hdx.augments._contrastive import view
from hdx.augments._photometric import Jitter
from hdx.options import Fraction, NonNegativeFloat, OpenFraction


class SimClr(Augmentation):
    """Two views of one kind: resized crop, flip, colour jitter, grey, blur.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", appendix A.

    Args:
        area: smallest share of the area that a crop keeps.
        hflip: probability of a flip.
        strength: of the colour jitter: brightness, contrast and saturation by 0.8 of it, hue by 0.2. The paper has 1 on ImageNet
            and 0.5 on CIFAR.
        jitter, grey, blur: probabilities; the paper leaves blur out on CIFAR.
    """

    shows = "several"

    def __init__(
        self,
        *,
        area: OpenFraction = 0.08,
        hflip: Fraction = 0.5,
        strength: NonNegativeFloat = 1.0,
        jitter: Fraction = 0.8,
        grey: Fraction = 0.2,
        blur: Fraction = 0.5,
    ) -> None:
        self.area, self.hflip, self.strength = area, hflip, strength
        self.jitter, self.grey, self.blur = jitter, grey, blur

    def views(self, size: int) -> tuple[View, ...]:
        """Two of the same distribution."""
        s = 0.8 * self.strength
        colours = Jitter(self.jitter, s, s, s, min(0.5, 0.2 * self.strength))
        area = (self.area, 1.0)
        return tuple(view(size, area, hflip=self.hflip, jitter=colours, grey=self.grey, blur=self.blur) for _ in range(2))
