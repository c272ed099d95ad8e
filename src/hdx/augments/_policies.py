"""Operations drawn from a table, each at a strength: what RandAugment and TrivialAugment choose among.

The fourteen operations are those of AutoAugment (Cubuk et al. 2019) as later policies keep them. Shears turn about the upper left
corner, as Pillow's affine transform does; what comes in from outside is black. Warps are bilinear.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from hdx.augments._base import Step, to_uint8
from hdx.augments._photometric import brightness, contrast, kornia, saturation

Change = Callable[[Tensor, Tensor], Tensor]  # images [B, C, H, W] uint8 and values [B] to images uint8
Place = Callable[[Tensor, int, int], Tensor]  # values [B], height, width to [B, 3, 3]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        value: strength in [0, 1] and sign to its value: an angle, a shear, a factor, a number of bits.
        change: for an operation on colours; place: for one that moves pixels; neither: the identity.
    """

    value: Callable[[Tensor, Tensor], Tensor]
    change: Change | None = None
    place: Place | None = None


class Drawn(Step):
    """Operations of a table, one after the other, each sample its own.

    Args:
        table: of `Operation`s.
        n: how many.
        strength: in [0, 1]; None draws it for each.
        bins: strengths are i / (bins - 1).
    """

    def __init__(self, table: dict[str, Operation], n: int, strength: float | None, bins: int) -> None:
        self.table, self.n, self.strength, self.bins = table, n, strength, bins
        self.n_draws = 3 * n

    def describe(self) -> dict[str, object]:
        """The table by its names."""
        return {"step": "Drawn", "table": sorted(self.table), "n": self.n, "strength": self.strength, "bins": self.bins}

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, H, W] uint8; draws of each operation: which, strength, sign."""
        for own in draws.split(3, 1):
            for operation, rows, values in self._drawn(own):
                if operation.change is not None:
                    images = images.index_copy(0, rows, operation.change(images[rows], values))
                elif operation.place is not None:
                    moved = _moved(images[rows], operation.place(values, *images.shape[-2:])[:, :2])
                    images = images.index_copy(0, rows, moved)
        return images

    def matrix(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3]."""
        found = super().matrix(draws, height, width)
        for own in draws.split(3, 1):
            for operation, rows, values in self._drawn(own):
                if operation.place is not None:
                    found[rows] = found[rows].bmm(operation.place(values, height, width))
        return found

    def _drawn(self, draws: Tensor) -> list[tuple[Operation, Tensor, Tensor]]:
        """Each operation that some sample drew, those samples, and the value for each."""
        kind = (draws[:, 0] * len(self.table)).long()
        strength = (draws[:, 1] * self.bins).floor() / (self.bins - 1)
        if self.strength is not None:
            strength = torch.full_like(strength, self.strength)
        sign = torch.where(draws[:, 2] < 0.5, -1.0, 1.0)
        found = []
        for number, operation in enumerate(self.table.values()):
            rows = (kind == number).nonzero()[:, 0]
            if len(rows):
                found.append((operation, rows, operation.value(strength[rows], sign[rows])))
        return found


def table(*, shear: float, translate: float, degrees: float, factor: float, bits: int) -> dict[str, Operation]:
    """The fourteen operations at their largest strengths.

    Args:
        shear: of a side; translate: in shares of a side; degrees: of a rotation.
        factor: by how much brightness, colour, contrast and sharpness leave 1; bits: that posterising leaves at least.
    """

    def signed(most: float) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda strength, sign: sign * strength * most

    def around_one(strength: Tensor, sign: Tensor) -> Tensor:
        return 1 + sign * strength * factor

    def nothing(strength: Tensor, sign: Tensor) -> Tensor:
        return strength

    return {
        "identity": Operation(nothing),
        "shear_x": Operation(signed(shear), place=lambda v, h, w: _sheared(v, 0, h / w)),
        "shear_y": Operation(signed(shear), place=lambda v, h, w: _sheared(v, 1, w / h)),
        "translate_x": Operation(signed(translate), place=lambda v, h, w: _translated(v, 0)),
        "translate_y": Operation(signed(translate), place=lambda v, h, w: _translated(v, 1)),
        "rotate": Operation(signed(math.radians(degrees)), place=_rotated),
        "brightness": Operation(around_one, _of_floats(brightness)),
        "colour": Operation(around_one, _of_floats(saturation)),
        "contrast": Operation(around_one, _of_floats(contrast)),
        "sharpness": Operation(around_one, _of_floats(lambda x, v: kornia().enhance.sharpness(x, v))),
        "posterize": Operation(lambda strength, sign: 8 - (strength * (8 - bits)).round(), _posterized),
        "solarize": Operation(lambda strength, sign: 255 * (1 - strength), _solarized),
        "autocontrast": Operation(nothing, _stretched),
        "equalize": Operation(nothing, _of_floats(lambda x, v: kornia().enhance.equalize(x))),
    }


def _of_floats(change: Change) -> Change:
    return lambda images, values: to_uint8(255 * change(images.float() / 255, values))


def _moved(images: Tensor, theta: Tensor) -> Tensor:
    grid = F.affine_grid(theta.to(images.device), list(images.shape), align_corners=False)
    return to_uint8(F.grid_sample(images.float(), grid, mode="bilinear", padding_mode="zeros", align_corners=False))


def _sheared(values: Tensor, axis: int, ratio: float) -> Tensor:
    found = torch.eye(3, device=values.device).repeat(len(values), 1, 1)
    found[:, axis, 1 - axis] = found[:, axis, 2] = values * ratio
    return found


def _translated(values: Tensor, axis: int) -> Tensor:
    found = torch.eye(3, device=values.device).repeat(len(values), 1, 1)
    found[:, axis, 2] = 2 * values
    return found


def _rotated(values: Tensor, height: int, width: int) -> Tensor:
    found = torch.eye(3, device=values.device).repeat(len(values), 1, 1)
    cos, sin = values.cos(), values.sin()
    found[:, 0, 0], found[:, 0, 1] = cos, -sin * height / width
    found[:, 1, 0], found[:, 1, 1] = sin * width / height, cos
    return found


def _posterized(images: Tensor, values: Tensor) -> Tensor:
    mask = (256 - 2 ** (8 - values)).to(torch.uint8)  # the upper bits
    return images & mask[:, None, None, None]


def _solarized(images: Tensor, values: Tensor) -> Tensor:
    return torch.where(images >= values[:, None, None, None], 255 - images, images)


def _stretched(images: Tensor, values: Tensor) -> Tensor:
    """Each channel over the whole range; one of a single value stays."""
    low, high = (f(images, (2, 3), keepdim=True).float() for f in (torch.amin, torch.amax))
    wide = (images.float() - low) * (255 / (high - low).clamp(min=1))
    return torch.where(high > low, to_uint8(wide), images)
