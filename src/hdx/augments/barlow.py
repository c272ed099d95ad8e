"""The two unlike views of BYOL and Barlow Twins."""

from __future__ import annotations

from hdx.augments._base import Augmentation, View
from hdx.augments._contrastive import jitter, view
from hdx.options import Fraction, NonNegativeFloat, OpenFraction


class Barlow(Augmentation):
    """Two views: the first is always blurred and never solarised, the second seldom blurred and sometimes solarised.

    Source: Grill et al. 2020, "Bootstrap Your Own Latent", appendix B; the same in Zbontar et al. 2021, "Barlow Twins".

    Args:
        area: smallest share of the area that a crop keeps.
        hflip: probability of a flip.
        strength: of the colour jitter: brightness and contrast by 0.4 of it, saturation by 0.2, hue by 0.1.
        jitter, grey: probabilities.
        blur, solarize: probabilities in the first and in the second view.
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
        blur: tuple[float, float] = (1.0, 0.1),
        solarize: tuple[float, float] = (0.0, 0.2),
    ) -> None:
        self.area, self.hflip, self.strength, self.jitter, self.grey = area, hflip, strength, jitter, grey
        self.blur, self.solarize = tuple(blur), tuple(solarize)

    def views(self, size: int) -> tuple[View, ...]:
        """Two."""
        colours, area = jitter(self.jitter, self.strength), (self.area, 1.0)
        return tuple(
            view(size, area, hflip=self.hflip, jitter=colours, grey=self.grey, blur=blur, solarize=solarize)
            for blur, solarize in zip(self.blur, self.solarize)
        )
