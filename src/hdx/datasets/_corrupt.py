"""A split whose images are all changed in one way: inverted, noisy, low in contrast or bright."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.datasets._base import ImageSet
from hdx.seeds import stream

USUAL = 3
BRIGHTER = (26, 51, 76, 102, 128)  # of 255, by severity
CONTRAST = ((2, 5), (3, 10), (1, 5), (1, 10), (1, 20))  # numerator and denominator of what is left
NOISE = tuple(share * 255 for share in (0.08, 0.12, 0.18, 0.26, 0.38))  # standard deviation


class Corrupted(ImageSet):
    """The images of another split under one corruption; a corrupted image is a pure function of image, index and seed.

    `inversion`: 255 - x. `brightness`: x + 76, 0.3 of the range, in every channel (the authors add it to the V of HSV, which is
    the same for grey images). `contrast`: m + 0.2 (x - m), with m the mean of the image's channel. `noise`: x + 0.18 x 255 z with
    z standard normal. The last three are those of Hendrycks and Dietterich 2019 ("Benchmarking Neural Network Robustness to
    Common Corruptions and Perturbations"), here at severity 3, constants from memory; rounded to the nearest of 0..255.

    Args:
        base: the split.
        kind: one of `KINDS`.
        seed: of the noise; give each split its own.
        severity: 1 to 5; inversion has one.
    """

    def __init__(self, base: ImageSet, kind: str, seed: int = 0, severity: int = USUAL) -> None:
        self.labels, self.image_shape = base.labels, base.image_shape
        self.like(base)
        constants = [BRIGHTER[USUAL - 1], CONTRAST[USUAL - 1][1], NOISE[USUAL - 1]]
        self.digest = digest.of_json([base.digest, kind, seed, *constants, *([] if severity == USUAL else [severity])])
        self._base, self._seed, self._severity, self._change = base, seed, severity, KINDS[kind]

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        return self._change(self._base.fetch(indices), indices, self._seed, self._severity)

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`."""
        mine, theirs = tee(parts)
        for part, images in zip(mine, self._base.batches(theirs, device)):
            yield self._change(images, part, self._seed, self._severity)


def inversion(images: Tensor, indices: np.ndarray, seed: int, severity: int = USUAL) -> Tensor:
    """Black becomes white."""
    return 255 - images


def brightness(images: Tensor, indices: np.ndarray, seed: int, severity: int = USUAL) -> Tensor:
    """Everything brighter by the same amount."""
    return (images.short() + BRIGHTER[severity - 1]).clamp_(max=255).to(torch.uint8)


def contrast(images: Tensor, indices: np.ndarray, seed: int, severity: int = USUAL) -> Tensor:
    """Every channel of an image drawn together about its mean; in integers, so that devices cannot differ where it is halfway."""
    values, n = images.long(), images.shape[2] * images.shape[3]
    left, of = CONTRAST[severity - 1]
    total = values.sum((2, 3), keepdim=True)  # n m + (x - m) n left / of, over n, plus one half
    changed = (2 * (of - left) * total + 2 * left * n * values + of * n) // (2 * of * n)
    return changed.to(torch.uint8)


def noise(images: Tensor, indices: np.ndarray, seed: int, severity: int = USUAL) -> Tensor:
    """Gaussian noise, of each index its own; drawn on the CPU, so that every device gets the same."""
    shape = tuple(images.shape[1:])
    drawn = [stream(seed, "noise", int(index)).standard_normal(shape) for index in indices]
    added = torch.from_numpy(NOISE[severity - 1] * np.stack(drawn)).to(images.device)
    return (images.double() + added).round_().clamp_(0, 255).to(torch.uint8)


KINDS: dict[str, Callable[[Tensor, np.ndarray, int, int], Tensor]] = {
    "inversion": inversion,
    "noise": noise,
    "contrast": contrast,
    "brightness": brightness,
}
