"""Steps that move pixels: resized crops, rotations, shifts with a border, flips, quarter turns, erased boxes."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from hdx.augments._base import Step, chosen, to_uint8


class Warp(Step):
    """A resized crop and a rotation in one bilinear warp with reflected borders.

    Args:
        size: of the body; a warp of smaller images comes out at this side, so that they are interpolated once and not twice.
        scale: share of the area that is kept, drawn evenly; ratio: of width to height, drawn evenly in the logarithm (Szegedy et
            al. 2015).
        degrees: rotation, drawn evenly within both signs of it.
    """

    n_draws = 5

    def __init__(
        self, size: int, scale: tuple[float, float] = (1.0, 1.0), ratio: tuple[float, float] = (1.0, 1.0), degrees: float = 0.0
    ) -> None:
        self.size, self.scale, self.ratio, self.degrees = size, scale, ratio, degrees

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, h, w] uint8, at side max(H, size)."""
        height, width = images.shape[-2:]
        theta = self.matrix(draws, height, width)[:, :2]
        target = [len(images), images.shape[1], *self.sides(height, width)]
        grid = F.affine_grid(theta, target, align_corners=False)  # [B, h, w, 2]
        return to_uint8(F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="reflection", align_corners=False))

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """As large as the body sees, or as the image is."""
        scale = max(1.0, self.size / min(height, width))
        return round(height * scale), round(width * scale)

    def matrix(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3]; draws [B, 5]: area, aspect, x, y, angle."""
        low, high = self.scale
        area = low + (high - low) * draws[:, 0]
        narrow, wide = (math.log(value) for value in self.ratio)
        aspect = torch.exp((narrow + wide) / 2 + (2 * draws[:, 1] - 1) * ((wide - narrow) / 2))
        share_x, share_y = (area * aspect).sqrt().clamp(max=1), (area / aspect).sqrt().clamp(max=1)
        centre_x, centre_y = (2 * draws[:, 2] - 1) * (1 - share_x), (2 * draws[:, 3] - 1) * (1 - share_y)
        angle = (2 * draws[:, 4] - 1) * math.radians(self.degrees)
        cos, sin = angle.cos(), angle.sin()
        # Coordinates run over [-1, 1] on both sides, so a rotation of pixels needs the ratio of the sides.
        row_x = torch.stack([cos * share_x, -sin * share_y * height / width, centre_x], dim=1)  # [B, 3]
        row_y = torch.stack([sin * share_x * width / height, cos * share_y, centre_y], dim=1)
        return torch.stack([row_x, row_y, torch.tensor([0.0, 0.0, 1.0], device=draws.device).expand_as(row_x)], dim=1)


class Shift(Step):
    """A window of the old size out of the image with a reflected border (the "random crop" of small images).

    Args:
        border: on each side, as a share of it.
    """

    n_draws = 2

    def __init__(self, border: float = 0.125) -> None:
        self.border = border

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8."""
        rows, columns = (self._window(draws[:, axis], images.shape[2 + axis]) for axis in (0, 1))
        sample = torch.arange(len(images), device=images.device)[:, None, None]
        picked = images[sample, :, rows[:, :, None], columns[:, None, :]]  # [B, H, W, C]: the slice goes last
        return picked.permute(0, 3, 1, 2).contiguous()

    def matrix(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3]; the reflected border is taken as if the image went on."""
        found = super().matrix(draws, height, width)
        for row, (axis, side) in enumerate([(1, width), (0, height)]):
            found[:, row, 2] = 2 * self._offset(draws[:, axis], side) / side
        return found

    def _offset(self, draws: Tensor, side: int) -> Tensor:
        border = round(side * self.border)
        return (draws * (2 * border + 1)).long() - border  # [B] in [-border, border]

    def _window(self, draws: Tensor, side: int) -> Tensor:
        """[B, side] source positions of a line."""
        position = (torch.arange(side, device=draws.device) + self._offset(draws, side)[:, None]).abs()
        return torch.where(position >= side, 2 * (side - 1) - position, position)


class Flip(Step):
    """The mirror image, left to right or upside down.

    Args:
        share: probability; vertical: upside down.
    """

    n_draws = 1

    def __init__(self, share: float = 0.5, vertical: bool = False) -> None:
        self.share, self.vertical = share, vertical

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8."""
        flipped = images.flip(2 if self.vertical else 3)
        return torch.where(chosen(self.share, draws[:, 0])[:, None, None, None], flipped, images)

    def matrix(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3]."""
        found = super().matrix(draws, height, width)
        axis = int(self.vertical)
        found[:, axis, axis] = torch.where(chosen(self.share, draws[:, 0]), -1.0, 1.0)
        return found


class Turn(Step):
    """One of the four quarter turns, counter-clockwise, of square images.

    Args:
        turns: which; None draws it.
    """

    n_draws = 1

    def __init__(self, turns: int | None = None) -> None:
        self.turns = turns

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, H] uint8."""
        if images.shape[2] != images.shape[3]:
            raise ValueError(f"Expected square images to turn, but got {list(images.shape[2:])}")
        k = self._drawn(draws)[:, None, None, None]
        return torch.stack([images.rot90(turn, (2, 3)) for turn in range(4)]).gather(0, k.expand_as(images)[None])[0]

    def matrix(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3]."""
        angle = self._drawn(draws) * (math.pi / 2)
        cos, sin = angle.cos().round(), angle.sin().round()
        found = super().matrix(draws, height, width)
        found[:, 0, 0], found[:, 0, 1], found[:, 1, 0], found[:, 1, 1] = cos, -sin, sin, cos
        return found

    def _drawn(self, draws: Tensor) -> Tensor:
        return (draws[:, 0] * 4).long() if self.turns is None else torch.full_like(draws[:, 0], self.turns, dtype=torch.long)


class Erase(Step):
    """A box of one colour over a part of the image (Zhong et al. 2020, "Random Erasing Data Augmentation", with the mean of
    their boxes' noise in place of noise where `fill` is colour).

    Args:
        share: probability.
        area: share of the image that the box covers; ratio: of its height to its width, evenly in the logarithm.
        fill: black, or a colour drawn evenly for each box.
    """

    n_draws = 8

    def __init__(
        self,
        share: float = 0.25,
        area: tuple[float, float] = (0.02, 1 / 3),
        ratio: tuple[float, float] = (0.3, 1 / 0.3),
        fill: str = "colour",
    ) -> None:
        self.share, self.area, self.ratio, self.fill = share, area, ratio, fill

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8; draws: whether, area, ratio, y, x, three of the colour."""
        height, width = images.shape[-2:]
        area = self.area[0] + (self.area[1] - self.area[0]) * draws[:, 1]
        narrow, wide = (math.log(value) for value in self.ratio)
        ratio = torch.exp(narrow + (wide - narrow) * draws[:, 2])
        tall = (area * height * width * ratio).sqrt().round().clamp(1, height)
        broad = (area * height * width / ratio).sqrt().round().clamp(1, width)
        top, left = (draws[:, 3] * (height - tall + 1)).floor(), (draws[:, 4] * (width - broad + 1)).floor()
        y, x = torch.arange(height, device=images.device), torch.arange(width, device=images.device)
        rows = (y >= top[:, None]) & (y < (top + tall)[:, None]) & chosen(self.share, draws[:, 0])[:, None]  # [B, H]
        columns = (x >= left[:, None]) & (x < (left + broad)[:, None])  # [B, W]
        colour = to_uint8(255 * draws[:, 5 : 5 + images.shape[1], None, None] * float(self.fill == "colour"))
        return torch.where((rows[:, :, None] & columns[:, None, :])[:, None], colour, images)
