"""The list `trainer.augment`: steps by name, at fixed strengths."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, get_args

from torch import Tensor

from hdx.augments._base import Chain, Step, to_uint8
from hdx.augments._geometry import Flip, Shift, Warp
from hdx.errors import ConfigError
from hdx.registry import did_you_mean
from hdx.trainers.recipe import Augmentation

AUGMENTATIONS: tuple[str, ...] = get_args(Augmentation)


class Augment(Chain):
    """In this order, whatever the order of the names: `resized_crop` (area 0.5-1, aspect 3/4-4/3, Szegedy et al. 2015) and
    `rotate` (+-15 degrees) in one bilinear warp with reflected borders, `crop` (12.5 % reflected border on each side, random
    window of the old size), `hflip` and `vflip` (each with probability 0.5), `jitter` (brightness, then contrast about the
    image's mean, factors 0.6-1.4).

    Args:
        names: which; empty changes nothing.
        size: side in pixels that the body's transform resizes to. Where a teacher sees the same images it is the larger of the
            two, so that neither is shown what was made for the smaller one.

    Raises: ConfigError for an unknown or repeated name.
    """

    def __init__(self, names: Sequence[str], size: int) -> None:
        known = list(AUGMENTATIONS)
        problems = [f"augmentation '{n}' is unknown.{did_you_mean(n, known)}" for n in names if n not in known]
        problems += [f"augmentation '{n}' is listed twice" for n in known if list(names).count(n) > 1]
        if problems:
            raise ConfigError([f"{problem}  (known: {', '.join(known)})" for problem in problems])
        self.names = [name for name in known if name in names]
        super().__init__([make(names, size) for wanted, make in _STEPS if wanted & set(names)], size)

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the key of what is kept of them."""
        warps = any(isinstance(step, Warp) for step in self.steps)
        return {"version": self.VERSION, "names": self.names} | ({"size": self.size} if warps else {})


class Light(Step):
    """Brightness, then contrast about the mean of the whole image, by factors drawn evenly from 0.6-1.4."""

    n_draws = 2

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8."""
        brightness, contrast = (0.6 + 0.8 * draws).T[..., None, None, None]  # [B, 1, 1, 1] each
        x = (images.float() * brightness).clamp_(0, 255)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return to_uint8(mean + (x - mean) * contrast)


def _warp(names: Sequence[str], size: int) -> Step:
    crops = "resized_crop" in names
    scale, ratio = ((0.5, 1.0), (3 / 4, 4 / 3)) if crops else ((1.0, 1.0), (1.0, 1.0))
    return Warp(size, scale, ratio, 15.0 if "rotate" in names else 0.0)


_STEPS: list[tuple[set[str], Callable[[Sequence[str], int], Step]]] = [  # (names that ask for it, the step)
    ({"resized_crop", "rotate"}, _warp),
    ({"crop"}, lambda names, size: Shift()),
    ({"hflip"}, lambda names, size: Flip()),
    ({"vflip"}, lambda names, size: Flip(vertical=True)),
    ({"jitter"}, lambda names, size: Light()),
]
