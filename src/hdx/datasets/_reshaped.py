"""A split whose images are given another size, or three channels in place of one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from hdx import digest
from hdx.datasets._base import ImageSet


class Reshaped(ImageSet):
    """The images of another split in another shape: resized (bicubic, antialiased), grey ones repeated to 3 channels.

    Args:
        base: the split.
        shape: (C, H, W) of what comes out; C is 3 or that of `base`.
        labels: [N] int64; None takes those of `base`.
    """

    def __init__(self, base: ImageSet, shape: tuple[int, int, int], labels: np.ndarray | None = None) -> None:
        if shape[0] not in (base.image_shape[0], 3):
            raise ValueError(f"Expected 3 or {base.image_shape[0]} channels, but got {shape[0]}")
        self.labels = base.labels if labels is None else labels
        self.image_shape = shape
        self.like(base)
        if labels is not None:  # other classes than those that the targets are of
            self.targets = None
        self.digest = digest.of_json([base.digest, list(shape), digest.of_arrays(self.labels)])
        self._base = base

    def _shaped(self, images: Tensor) -> Tensor:
        if images.shape[2:] != self.image_shape[1:]:
            resized = interpolate(images.float(), self.image_shape[1:], mode="bicubic", antialias=True)
            images = resized.round_().clamp_(0, 255).to(torch.uint8)
        same = images.shape[1] == self.image_shape[0]
        return images if same else images.expand(-1, self.image_shape[0], -1, -1).contiguous()

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        return self._shaped(self._base.fetch(indices))

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`."""
        for images in self._base.batches(parts, device):
            yield self._shaped(images)
