"""Batched transforms on the device: uint8 images to what a body wants to see (`EvalTransform`), and `Augment` for training.

In training the two are chained, `transform(augment(images, draws))`, so that an empty list of augmentations
gives exactly the pixels of evaluation.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from hdx.backbones._base import InputSpec
from hdx.datasets.augmentations import AUGMENTATIONS
from hdx.errors import ConfigError
from hdx.registry import did_you_mean


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


class Augment:
    """Random changes of a batch of uint8 images, each sample by its own row of numbers in [0, 1).

    The numbers are given and not drawn here, so that an image comes out the same on every device, in every batch and beside
    any other images. `draws` takes those of a batch from one explicit CPU generator, as one [B, K] block.
    In this order, whatever the order of the names: `resized_crop` (area 0.5-1, aspect 3/4-4/3, Szegedy et al. 2015) and
    `rotate` (+-15 degrees) in one bilinear warp with reflected borders, `crop` (12.5 % reflected border on each side,
    random window of the old size), `hflip` and `vflip` (each with probability 0.5), `jitter` (brightness, then
    contrast about the image's mean, factors 0.6-1.4).

    Args:
        names: which, out of `AUGMENTATIONS`; empty changes nothing.
        size: side in pixels that the body's transform resizes to (`EvalTransform.resize_to`): a warp of smaller images
            comes out at this side, so that they are interpolated once and not twice. Where a teacher sees the same images it is
            the larger of the two, so that neither is shown what was made for the smaller one.

    Attributes:
        n_draws: K, numbers a sample takes.

    Raises: ConfigError for an unknown or repeated name.
    """

    VERSION = 1

    def __init__(self, names: Sequence[str], size: int) -> None:
        known = list(AUGMENTATIONS)
        problems = [f"augmentation '{n}' is unknown.{did_you_mean(n, known)}" for n in names if n not in known]
        problems += [f"augmentation '{n}' is listed twice" for n in known if list(names).count(n) > 1]
        if problems:
            raise ConfigError([f"{problem}  (known: {', '.join(known)})" for problem in problems])
        self.names = [name for name in known if name in names]
        self.size = size
        self._steps = [(draws, step) for wanted, draws, step in _STEPS if wanted & set(names)]
        self.n_draws = sum(draws for draws, _ in self._steps)

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the key of what is kept of them."""
        warps = any(step is Augment._warp for _, step in self._steps)
        return {"version": self.VERSION, "names": self.names} | ({"size": self.size} if warps else {})

    def draws(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, K] float32 for `n` samples; `generator` lives on the CPU, and nothing is drawn where nothing changes."""
        return torch.rand(n, self.n_draws, generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8 and draws [B, K] on the CPU to images of the same shape, at side max(H, size) after a warp."""
        for n, step in self._steps:
            images, draws = step(self, images, draws[:, :n].to(images.device)), draws[:, n:]
        return images

    def geometry(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 2, 3]: places in what comes out to places in the image [B, C, height, width], both in [-1, 1] (x, y)."""
        found = torch.eye(3).repeat(len(draws), 1, 1)
        for n, step in self._steps:
            own, draws = draws[:, :n], draws[:, n:]
            found = found @ self._affine_of(step, own, height, width)  # the last change is the first on the way back
            if step is Augment._warp:
                scale = max(1.0, self.size / min(height, width))
                height, width = round(height * scale), round(width * scale)
        return found[:, :2]

    def _affine_of(self, step: _Step, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3] of one step; a border that is reflected is taken as if it went on."""
        found = torch.eye(3).repeat(len(draws), 1, 1)
        if step is Augment._warp:
            found[:, :2] = _affine(draws, height, width, "resized_crop" in self.names, "rotate" in self.names)
        elif step is Augment._crop:
            for axis, side in ((1, height), (0, width)):
                found[:, axis, 2] = 2 * _shift(draws[:, 1 - axis], round(side / 8)) / side
        elif step in (Augment._hflip, Augment._vflip):
            axis = 0 if step is Augment._hflip else 1
            found[:, axis, axis] = torch.where(draws[:, 0] < 0.5, -1.0, 1.0)
        return found

    def _warp(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        theta = _affine(draws, height, width, "resized_crop" in self.names, "rotate" in self.names)  # [B, 2, 3]
        scale = max(1.0, self.size / min(height, width))
        target = [len(images), images.shape[1], round(height * scale), round(width * scale)]
        grid = F.affine_grid(theta, target, align_corners=False)  # [B, H', W', 2]
        warped = F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False)
        return _to_uint8(warped)

    def _crop(self, images: Tensor, draws: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        rows = _window(draws[:, 0], height, round(height / 8))  # [B, H]
        columns = _window(draws[:, 1], width, round(width / 8))  # [B, W]
        sample = torch.arange(len(images), device=images.device)[:, None, None]
        picked = images[sample, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]: the slice goes last
        return picked.permute(0, 3, 1, 2).contiguous()

    def _hflip(self, images: Tensor, draws: Tensor) -> Tensor:
        return torch.where((draws[:, 0] < 0.5)[:, None, None, None], images.flip(3), images)

    def _vflip(self, images: Tensor, draws: Tensor) -> Tensor:
        return torch.where((draws[:, 0] < 0.5)[:, None, None, None], images.flip(2), images)

    def _jitter(self, images: Tensor, draws: Tensor) -> Tensor:
        brightness, contrast = (0.6 + 0.8 * draws).T[..., None, None, None]  # [B, 1, 1, 1] each
        x = (images.float() * brightness).clamp_(0, 255)
        mean = x.mean(dim=(1, 2, 3), keepdim=True)
        return _to_uint8(mean + (x - mean) * contrast)


_Step = Callable[[Augment, Tensor, Tensor], Tensor]
_STEPS: list[tuple[set[str], int, _Step]] = [  # (names that ask for it, draws a sample, step)
    ({"resized_crop", "rotate"}, 5, Augment._warp),
    ({"crop"}, 2, Augment._crop),
    ({"hflip"}, 1, Augment._hflip),
    ({"vflip"}, 1, Augment._vflip),
    ({"jitter"}, 2, Augment._jitter),
]


def _to_uint8(x: Tensor) -> Tensor:
    return x.round_().clamp_(0, 255).to(torch.uint8)


def _affine(draws: Tensor, height: int, width: int, resized_crop: bool, rotate: bool) -> Tensor:
    """[B, 2, 3] maps from output to input coordinates in [-1, 1]; draws [B, 5]: area, aspect, x, y, angle."""
    area = 0.5 + 0.5 * draws[:, 0] if resized_crop else torch.ones_like(draws[:, 0])
    aspect = torch.exp((2 * draws[:, 1] - 1) * math.log(4 / 3)) if resized_crop else torch.ones_like(area)
    share_x, share_y = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
    centre_x, centre_y = (2 * draws[:, 2] - 1) * (1 - share_x), (2 * draws[:, 3] - 1) * (1 - share_y)
    angle = (2 * draws[:, 4] - 1) * math.radians(15) if rotate else torch.zeros_like(area)
    cos, sin = angle.cos(), angle.sin()
    # Coordinates run over [-1, 1] on both sides, so a rotation of pixels needs the ratio of the sides.
    row_x = torch.stack([cos * share_x, -sin * share_y * height / width, centre_x], dim=1)  # [B, 3]
    row_y = torch.stack([sin * share_x * width / height, cos * share_y, centre_y], dim=1)
    return torch.stack([row_x, row_y], dim=1)


def _shift(draws: Tensor, border: int) -> Tensor:
    """[B] int64 in [-border, border]."""
    return (draws * (2 * border + 1)).long() - border


def _window(draws: Tensor, side: int, border: int) -> Tensor:
    """[B, side] source positions of a random window of a line with reflected borders."""
    position = (torch.arange(side, device=draws.device) + _shift(draws, border)[:, None]).abs()
    return torch.where(position >= side, 2 * (side - 1) - position, position)
