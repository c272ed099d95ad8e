"""Steps of augmentations against independent forms, and their geometry against where pixels really go."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2 import functional as tv

from hdx.augments import _photometric as photometric
from hdx.augments._base import Chain, Step
from hdx.augments._geometry import Erase, Flip, Shift, Turn, Warp
from hdx.augments._named import Augment
from hdx.augments._photometric import Blur, Grey, Jitter, Solarize
from hdx.augments._policies import Drawn, table


def pictures(n: int, channels: int = 3, side: int = 24, seed: int = 0) -> Tensor:
    """Smooth uint8 pictures [n, C, side, side]."""
    coarse = torch.rand(n, channels, 5, 5, generator=torch.Generator().manual_seed(seed))
    return (255 * F.interpolate(coarse, side, mode="bicubic").clamp(0, 1)).to(torch.uint8)


def numbers(n: int, k: int, seed: int = 1) -> Tensor:
    return torch.rand(n, k, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("names", "steps"),
    [
        (["resized_crop", "rotate"], [Warp(32, (0.5, 1.0), (3 / 4, 4 / 3), 15)]),
        (["rotate"], [Warp(32, degrees=15)]),
        (["resized_crop"], [Warp(32, (0.5, 1.0), (3 / 4, 4 / 3))]),
        (["crop", "hflip", "vflip"], [Shift(), Flip(), Flip(vertical=True)]),
    ],
)
def test_steps_are_what_the_list_of_names_did(names: list[str], steps: list[Step]) -> None:
    images, chain, named = pictures(7), Chain(steps, 32), Augment(names, 32)
    draws = numbers(7, chain.n_draws)
    assert chain.n_draws == named.n_draws
    assert torch.equal(chain(images, draws), named(images, draws))


@pytest.mark.parametrize(
    "step",
    [
        Warp(24, (0.3, 0.9), (3 / 4, 4 / 3), 20),
        Warp(40, (0.5, 1.0)),
        Shift(0.2),
        Flip(),
        Flip(vertical=True),
        Turn(),
        Drawn(table(shear=0.3, translate=0.3, degrees=30, factor=0.5, bits=4), 1, 0.6, 31),
    ],
    ids=lambda step: type(step).__name__,
)
def test_geometry_says_where_pixels_come_from(step: Step) -> None:
    """An image whose channels are its own coordinates comes out with the coordinates that the geometry gives."""
    n, side = 12, 24
    axis = (2 * torch.arange(side) + 1) / side - 1
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    ramps = torch.stack([x, y, torch.zeros_like(x)]).expand(n, -1, -1, -1)
    images = (127.5 + 100 * ramps).round().to(torch.uint8)
    chain = Chain([step], 24)
    draws = numbers(n, chain.n_draws)
    if isinstance(step, Drawn):  # only what moves pixels
        draws[:, 0::3] = draws[:, 0::3] * 6 / 14
    seen = chain(images, draws)
    theta = chain.geometry(draws, side, side)
    grid = F.affine_grid(theta, [n, 3, *seen.shape[2:]], align_corners=False)  # [n, h, w, 2]
    inside = (grid.abs() < 0.9).all(-1)
    found = (seen[:, :2].float() - 127.5).permute(0, 2, 3, 1) / 100
    assert inside.float().mean() > 0.3
    assert (found - grid)[inside].abs().max() < 0.04  # of 2; rounding to 8 bits, and reflected borders cut off


def test_a_flip_concerns_its_share_of_samples_and_is_exact() -> None:
    images = pictures(5)
    draws = torch.tensor([[0.0], [0.29], [0.3], [0.31], [0.99]])
    seen = Flip(0.3)(images, draws)
    assert torch.equal(seen[:2], images[:2].flip(3)) and torch.equal(seen[2:], images[2:])


def test_turns_are_numpys() -> None:
    images = pictures(4)
    seen = Turn()(images, torch.tensor([[0.1], [0.3], [0.6], [0.9]]))
    for k in range(4):
        assert np.array_equal(seen[k].numpy(), np.rot90(images[k].numpy(), k, (1, 2)))


def test_jitter_is_torchvisions_four_functions_in_the_drawn_order() -> None:
    images, step = pictures(24), Jitter(1.0, 0.8, 0.8, 0.8, 0.2)
    draws = numbers(24, 6)
    draws[:, 1] = (torch.arange(24) + 0.5) / 24  # every order once
    seen = step(images, draws).float()
    for i, order in enumerate(photometric.ORDERS):
        factors = [0.2 + 1.6 * float(draws[i, 2 + k]) for k in range(3)] + [0.2 * (2 * float(draws[i, 5]) - 1)]
        x = images[i].float() / 255
        for kind in order:
            x = {
                0: tv.adjust_brightness,
                1: tv.adjust_contrast,
                2: tv.adjust_saturation,
                3: tv.adjust_hue,
            }[kind](x, factors[kind])
        assert (seen[i] - 255 * x).abs().max() < 6, order  # ours rounds to 8 bits after each of the four
        assert (seen[i] - 255 * x).abs().mean() < 1.0


def test_steps_with_a_probability_leave_the_others_alone_and_grey_images_keep_their_channel() -> None:
    images = pictures(6)
    draws = numbers(6, 6)
    for step in (Jitter(0.5, 0.4, 0.4, 0.2, 0.1), Grey(0.5), Blur(0.5), Solarize(0.5), Erase(0.5)):
        own = torch.cat([draws[:, :1].lerp(torch.tensor([[0.1], [0.9]]).repeat(3, 1), 1.0), numbers(6, 7)], 1)[:, : step.n_draws]
        seen = step(images, own)
        assert torch.equal(seen[1::2], images[1::2]) and not torch.equal(seen[0::2], images[0::2]), step
        grey = pictures(6, channels=1)
        assert step(grey, own).shape == grey.shape
    assert torch.equal(Grey(1.0)(pictures(2, 1), draws[:2, :1]), pictures(2, 1))


def test_grey_and_solarize_are_torchvisions() -> None:
    images, draws = pictures(3), torch.zeros(3, 1)
    grey = tv.rgb_to_grayscale(images, 3)
    assert (Grey(1.0)(images, draws).int() - grey.int()).abs().max() <= 1
    assert torch.equal(Solarize(1.0)(images, draws), tv.solarize(images, 128.0))


def test_blur_is_a_gaussian_of_its_width() -> None:
    """A blurred point has the variance of the drawn sigma, cut at the kernel, and no brightness is lost."""
    side = 224
    images = torch.zeros(2, 1, side, side, dtype=torch.uint8)
    images[:, :, 112, 112] = 255
    seen = 255 * photometric.kornia().filters.gaussian_blur2d(
        images.float() / 255, (23, 23), torch.tensor([[1.0, 1.0], [2.0, 2.0]])
    )
    rows = Blur(1.0, (1.0, 2.0))(images, torch.tensor([[0.0, 0.0], [0.0, 1.0]])).float()
    assert (rows - seen).abs().max() <= 0.5
    axis = torch.arange(side) - 112.0
    variance = (seen[:, 0].sum(1) * axis**2).sum(1) / seen.sum((1, 2, 3))
    torch.testing.assert_close(variance, torch.tensor([1.0, 4.0]), atol=0.02, rtol=0)


def test_erased_boxes_have_their_area_and_one_colour() -> None:
    images = torch.full((200, 3, 40, 40), 100, dtype=torch.uint8)
    step = Erase(1.0, (0.1, 0.2), (0.5, 2.0))
    draws = numbers(200, 8)
    draws[:, 5:] *= 0.3  # colours below 100
    seen = step(images, draws)
    erased = (seen != 100).all(1)
    share = erased.float().mean((1, 2))
    assert share.min() > 0.08 and share.max() < 0.22
    torch.testing.assert_close(share, 0.1 + 0.1 * draws[:, 1], atol=0.015, rtol=0)
    box = seen[0][:, erased[0]]
    assert (box == box[:, :1]).all()


OPERATIONS = table(shear=0.3, translate=0.4, degrees=30, factor=0.9, bits=4)
TORCHVISION = {
    "identity": lambda x, s: x,
    "brightness": lambda x, s: tv.adjust_brightness(x, 1 + 0.9 * s),
    "colour": lambda x, s: tv.adjust_saturation(x, 1 + 0.9 * s),
    "contrast": lambda x, s: tv.adjust_contrast(x, 1 + 0.9 * s),
    "sharpness": lambda x, s: tv.adjust_sharpness(x, 1 + 0.9 * s),
    "posterize": lambda x, s: tv.posterize(x, 8 - round(abs(s) * 4)),
    "solarize": lambda x, s: tv.solarize(x, 255 * (1 - abs(s))),
    "autocontrast": lambda x, s: tv.autocontrast(x),
    "equalize": lambda x, s: tv.equalize(x),
}


@pytest.mark.parametrize("name", sorted(TORCHVISION))
def test_operations_on_colours_are_torchvisions(name: str) -> None:
    images, number = pictures(4), list(OPERATIONS).index(name)
    step = Drawn(OPERATIONS, 1, None, 31)
    draws = torch.tensor([[(number + 0.5) / 14, strength, sign] for strength in (0.2, 0.9) for sign in (0.1, 0.9)])
    seen = step(images, draws)
    for i in range(4):
        strength = math.floor(float(draws[i, 1]) * 31) / 30 * (-1 if draws[i, 2] < 0.5 else 1)
        apart = (seen[i].int() - TORCHVISION[name](images[i], strength).int()).abs()
        assert apart.float().mean() < 3 if name == "equalize" else apart.max() <= 2, (name, i)  # torchvision cuts, we round


def test_a_sample_comes_out_the_same_in_any_batch() -> None:
    images = pictures(9)
    steps = [Warp(24, (0.3, 1.0)), Jitter(0.8, 0.8, 0.8, 0.8, 0.2), Drawn(OPERATIONS, 2, 0.5, 31), Erase(0.5), Blur(0.5)]
    chain = Chain(steps, 24)
    draws = numbers(9, chain.n_draws)
    together = chain(images, draws)
    alone = torch.cat([chain(images[i : i + 1], draws[i : i + 1]) for i in range(9)])
    assert (together.int() - alone.int()).abs().max() <= 1
