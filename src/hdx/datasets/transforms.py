"""The batched transform on the device: uint8 images to what a body wants to see.

In training it comes after the views, `transform(view(images, draws))`, so that an image without augmentation has exactly the
pixels of evaluation.
"""

from __future__ import annotations

import copy
import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hdx.input_spec import InputSpec


class EvalTransform:
    """Resize the shorter side to floor(S / crop), cut the centre S x S, scale to [0, 1], normalise, grey to three channels.

    The arithmetic of timm's evaluation transform, antialiased, in float32 and in batch.

    Args:
        spec: what the backbone wants.
        image_shape: (C, H, W) of the dataset's images; it decides S where the spec leaves it open.

    Attributes:
        size: S, side of the images that come out.
        resize_to: length of the shorter side before the centre crop.
    """

    VERSION = 1

    def __init__(self, spec: InputSpec, image_shape: tuple[int, int, int]) -> None:
        self.spec = spec
        self.size = spec.image_size if spec.image_size is not None else max(spec.min_size, *image_shape[1:])
        self.resize_to = math.floor(self.size / spec.crop)
        if spec.interpolation not in ("bilinear", "bicubic"):
            raise ValueError(f"Expected interpolation to be bilinear or bicubic, but got {spec.interpolation!r}")
        self._constants: dict[torch.device, tuple[Tensor, Tensor]] = {}

    def at(self, resize_to: int) -> EvalTransform:
        """The same with another length of the shorter side, of which the same share is cut out."""
        if resize_to == self.resize_to:
            return self
        found = copy.copy(self)
        found.resize_to, found.size = resize_to, max(1, round(resize_to * self.size / self.resize_to))
        return found

    def __call__(self, images: Tensor) -> Tensor:
        """[B, C, h, w] uint8 on any device to [B, 3, S, S] float32."""
        return self.of_floats(images.float() / 255)

    def of_floats(self, images: Tensor) -> Tensor:
        """The same of images [B, C, h, w] float32 in [0, 1]; differentiable in them."""
        x = self._centre_crop(self._resize(images))  # [B, C, S, S]
        mean, std = self._mean_std(images.device)
        return ((x.expand(-1, 3, -1, -1) - mean) / std).contiguous()  # [B, 3, S, S]

    def _resize(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        if min(height, width) == self.resize_to:
            return x
        longer = int(self.resize_to * max(height, width) / min(height, width))
        target = (self.resize_to, longer) if height <= width else (longer, self.resize_to)
        x = F.interpolate(x, size=target, mode=self.spec.interpolation, align_corners=False, antialias=True)
        return x.clamp(0, 1) if x.requires_grad else x.clamp_(0, 1)  # bicubic overshoots

    def _centre_crop(self, x: Tensor) -> Tensor:
        top = round((x.shape[-2] - self.size) / 2)
        left = round((x.shape[-1] - self.size) / 2)
        return x[..., top : top + self.size, left : left + self.size]

    def _mean_std(self, device: torch.device) -> tuple[Tensor, Tensor]:
        if device not in self._constants:
            with torch.inference_mode(False):  # kept for images that want a gradient as well
                mean, std = torch.tensor([self.spec.mean, self.spec.std], device=device)[..., None, None]  # [3, 1, 1] each
            self._constants[device] = mean, std
        return self._constants[device]

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the body's digest."""
        return {
            "version": self.VERSION,
            "size": self.size,
            "resize_to": self.resize_to,
            "interpolation": self.spec.interpolation,
            "mean": list(self.spec.mean),
            "std": list(self.spec.std),
        }
