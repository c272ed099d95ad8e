"""Several views of a batch: each at its own size, with the geometry of its crops, resumable at any step."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from hdx.augments._named import Augment
from hdx.backbones._base import InputSpec
from hdx.datasets._base import Dataset
from hdx.datasets._draws import StoredCrops
from hdx.datasets.transforms import EvalTransform
from hdx.engine.loader import PhaseLoader

CPU = torch.device("cpu")


def transform_of(size: int, crop: float = 1.0) -> EvalTransform:
    spec = InputSpec(image_size=size, min_size=1, mean=(0.5,) * 3, std=(0.5,) * 3, interpolation="bilinear", crop=crop)
    return EvalTransform(spec, (1, 8, 8))


def loader(digits: Dataset, **more: object) -> PhaseLoader:
    rows = np.arange(40, 60)
    views = (Augment(["resized_crop"], 16), Augment(["crop", "hflip"], 8))
    options = {"epochs": 2, "batch_size": 8, "seed": 3, "parts": (0, 1), "device": CPU, "transform": transform_of(16), **more}
    return PhaseLoader(digits.train, rows, rows % 5, views=views, **options)  # type: ignore[arg-type]


def test_a_batch_holds_each_view_at_its_own_size(digits: Dataset) -> None:
    batch = next(iter(loader(digits, raw=True)))
    large, small = batch.views
    assert large.inputs.shape[1:] == (3, 16, 16) and small.inputs.shape[1:] == (3, 8, 8)
    assert batch.inputs is large.inputs and batch.images is not None and batch.images.dtype == torch.uint8
    assert large.geometry.shape == small.geometry.shape == (len(batch.labels), 2, 3)
    assert not torch.equal(large.geometry, small.geometry)


@pytest.mark.parametrize("crops", [None, StoredCrops(3, 0)])
def test_views_are_resumed_bit_by_bit(crops: StoredCrops | None, digits: Dataset) -> None:
    whole = list(loader(digits, crops=crops))
    later = loader(digits, crops=crops)
    later.start = 4
    for one, other in zip(whole[4:], later, strict=True):
        assert all(torch.equal(a, b) for crop, again in zip(one.views, other.views) for a, b in zip(crop, again))


def test_stored_crops_come_back_for_each_view(digits: Dataset) -> None:
    batches = list(loader(digits, crops=StoredCrops(1, 0)))
    half = len(batches) // 2
    seen = [{}, {}]
    for epoch in range(2):
        for batch in batches[epoch * half : (epoch + 1) * half]:
            for place, image in zip(batch.positions.tolist(), batch.views[1].inputs):
                seen[epoch][place] = image
    assert all(torch.equal(image, seen[1][place]) for place, image in seen[0].items())


@pytest.mark.parametrize(
    "names", [["resized_crop"], ["rotate", "hflip"], ["vflip", "hflip"], ["crop"], ["resized_crop", "rotate", "hflip", "vflip"]]
)
def test_geometry_says_where_a_pixel_came_from(names: list[str]) -> None:
    """On a smooth image, sampling by the geometry gives what the augmentation gave, away from reflected borders."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 64), torch.linspace(0, 1, 64), indexing="ij")
    images = (200 * torch.stack([x, y])).round()[None].repeat(6, 1, 1, 1).to(torch.uint8)  # [6, 2, 64, 64]: places as colours
    augment = Augment(names, 64)
    draws = augment.draws(6, torch.Generator().manual_seed(0))
    found = augment(images, draws).float()
    grid = F.affine_grid(augment.geometry(draws, 64, 64), list(found.shape), align_corners=False)
    wanted = F.grid_sample(images.float(), grid, align_corners=False)
    inside = (grid.abs().amax(3) < 0.95)[:, None].expand_as(found)
    assert float(inside.float().mean()) > 0.5
    assert float((found - wanted)[inside].abs().max()) < 4  # of 200: under one and a half pixels of 64
    assert names == ["crop"] or float((found - images.float())[inside].abs().max()) > 20


def test_another_size_keeps_the_share_that_is_cut_out() -> None:
    transform = transform_of(20, crop=0.8)
    assert (transform.resize_to, transform.at(25) is transform) == (25, True)
    smaller = transform.at(10)
    assert (smaller.resize_to, smaller.size) == (10, 8)
    assert smaller(torch.zeros(1, 1, 8, 8, dtype=torch.uint8)).shape == (1, 3, 8, 8)
    assert (transform.resize_to, transform.size) == (25, 20)


def test_floats_are_seen_as_bytes_are_and_have_a_gradient() -> None:
    images = torch.arange(64, dtype=torch.uint8).view(1, 1, 8, 8) * 3
    floats = (images.float() / 255).requires_grad_()
    transform = transform_of(12)
    seen = transform.of_floats(floats)
    assert torch.equal(seen.detach(), transform(images))
    seen.sum().backward()
    assert float(floats.grad.min()) > 0  # type: ignore[union-attr]
