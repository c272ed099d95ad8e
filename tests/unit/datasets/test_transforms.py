from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor

from hdx.augments._named import AUGMENTATIONS, Augment
from hdx.backbones._base import InputSpec
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def smooth_images(n: int, channels: int, height: int, width: int) -> Tensor:
    """[n, channels, height, width] uint8 of low spatial frequency."""
    y, x = torch.meshgrid(torch.linspace(0, 3, height), torch.linspace(0, 4, width), indexing="ij")
    phase = torch.arange(n * channels).view(n, channels, 1, 1)
    return (127 + 120 * torch.sin(y + x * 0.7 + phase)).to(torch.uint8)


def random_images(n: int, channels: int, size: int, seed: int = 0) -> Tensor:
    return torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augmented(names: Sequence[str], size: int, images: Tensor, generator: torch.Generator) -> Tensor:
    augment = Augment(names, size)
    return augment(images, augment.draws(len(images), generator))


def test_same_size_is_normalisation_only() -> None:
    spec = InputSpec(image_size=None, mean=MEAN, std=STD)
    images = random_images(2, 3, 40)
    expected = (images.numpy().astype(np.float64) / 255 - np.array(MEAN)[:, None, None]) / np.array(STD)[:, None, None]
    result = EvalTransform(spec, (3, 40, 40))(images)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


def test_grey_becomes_three_equal_channels_before_normalisation() -> None:
    spec = InputSpec(image_size=16, mean=MEAN, std=STD)
    grey = random_images(3, 1, 16)
    transform = EvalTransform(spec, (1, 16, 16))
    torch.testing.assert_close(transform(grey), transform(grey.repeat(1, 3, 1, 1)), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("image_size", "shape", "size", "resize_to"),
    [(None, (1, 8, 8), 32, 32), (None, (3, 64, 48), 64, 64), (224, (3, 64, 64), 224, 256), (90, (3, 64, 64), 90, 102)],
)
def test_sizes(image_size: int | None, shape: tuple[int, int, int], size: int, resize_to: int) -> None:
    crop = 0.875 if image_size else 1.0
    transform = EvalTransform(InputSpec(image_size=image_size, mean=MEAN, std=STD, crop=crop), shape)
    assert (transform.size, transform.resize_to) == (size, resize_to)
    assert transform(torch.zeros(2, *shape, dtype=torch.uint8)).shape == (2, 3, size, size)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(("height", "width"), [(48, 64), (64, 48), (20, 20), (97, 61)])
@pytest.mark.parametrize("crop", [1.0, 0.875])
def test_equals_torchvision(interpolation: str, height: int, width: int, crop: float) -> None:
    from torchvision.transforms import InterpolationMode
    from torchvision.transforms import functional as reference

    images = random_images(2, 3, 128)[:, :, :height, :width]
    spec = InputSpec(image_size=32, mean=MEAN, std=STD, interpolation=interpolation, crop=crop)
    x = reference.resize(images.double() / 255, int(32 / crop), InterpolationMode(interpolation), antialias=True).clamp(0, 1)
    expected = reference.normalize(reference.center_crop(x, [32, 32]), MEAN, STD)
    torch.testing.assert_close(EvalTransform(spec, (3, height, width))(images).double(), expected, rtol=0, atol=3e-5)


@pytest.mark.parametrize(("interpolation", "method"), [("bilinear", Image.BILINEAR), ("bicubic", Image.BICUBIC)])
@pytest.mark.parametrize("size", [24, 32, 96])
def test_near_pillow(interpolation: str, method: int, size: int) -> None:
    images = smooth_images(2, 3, 64, 64)
    spec = InputSpec(image_size=size, mean=(0, 0, 0), std=(1, 1, 1), interpolation=interpolation)
    result = EvalTransform(spec, (3, 64, 64))(images) * 255
    for image, ours in zip(images, result):
        theirs = np.asarray(Image.fromarray(image.permute(1, 2, 0).numpy()).resize((size, size), method))
        assert np.abs(theirs.transpose(2, 0, 1) - ours.numpy()).max() < 1.2  # Pillow rounds after each of its two passes


def test_describe_changes_with_every_value() -> None:
    base = {"image_size": 32, "mean": MEAN, "std": STD, "interpolation": "bilinear", "crop": 1.0}
    changes = [{}, {"image_size": 48}, {"mean": STD}, {"std": MEAN}, {"interpolation": "bicubic"}, {"crop": 0.875}]
    descriptions = [str(EvalTransform(InputSpec(**{**base, **change}), (3, 32, 32)).describe()) for change in changes]
    assert len(set(descriptions)) == len(changes)


def test_unknown_interpolation() -> None:
    with pytest.raises(ValueError, match="bilinear or bicubic, but got 'lanczos'"):
        EvalTransform(InputSpec(image_size=32, mean=MEAN, std=STD, interpolation="lanczos"), (3, 32, 32))


def test_no_augmentation_returns_the_images_and_draws_nothing() -> None:
    images, generator = random_images(4, 3, 16), seeded()
    before = generator.get_state()
    assert augmented([], 16, images, generator) is images
    assert torch.equal(generator.get_state(), before)


def test_draws_are_one_block_of_a_generator_and_nothing_else_is_drawn() -> None:
    """A row for each sample: what runs drew before a sample's numbers could be given."""
    augment, generator = Augment(["jitter", "crop", "rotate"], 24), seeded(3)
    draws = augment.draws(6, generator)
    assert draws.shape == (6, augment.n_draws) == (6, 5 + 2 + 2)
    assert torch.equal(draws, torch.rand(6, 9, generator=seeded(3)))
    images, before = random_images(6, 3, 20), (generator.get_state(), torch.get_rng_state())
    rows = torch.tensor([4, 1, 4])
    assert torch.equal(augment(images[rows], draws[rows]), augment(images, draws)[rows])
    assert all(torch.equal(*pair) for pair in zip(before, (generator.get_state(), torch.get_rng_state())))


@settings(max_examples=20, deadline=None)
@given(st.sets(st.sampled_from(AUGMENTATIONS), min_size=1), st.integers(0, 2**31), st.integers(1, 9))
def test_a_sample_depends_on_its_place_and_not_on_the_batch(names: set[str], seed: int, n: int) -> None:
    images = random_images(12, 3, 20)
    whole = augmented(sorted(names), 20, images, seeded(seed))
    part = augmented(sorted(names, reverse=True), 20, images[:n], seeded(seed))
    assert whole.dtype == torch.uint8
    assert whole.shape == images.shape
    assert torch.equal(whole[:n], part)


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_each_changes_most_images_and_seeds_differ(name: str) -> None:
    images = random_images(64, 3, 24)
    one, two, again = (augmented([name], 24, images, seeded(seed)) for seed in (1, 2, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, two)
    changed = (one != images).flatten(1).any(1).float().mean().item()
    assert (0.3 < changed < 0.7) if name in ("hflip", "vflip") else changed > 0.9


@pytest.mark.parametrize(("name", "dim"), [("hflip", 3), ("vflip", 2)])
def test_flips_are_exact(name: str, dim: int) -> None:
    images = random_images(64, 1, 9)
    for before, after in zip(images, augmented([name], 9, images, seeded())):
        assert torch.equal(after, before) or torch.equal(after, before.flip(dim - 1))


def test_crop_is_a_window_of_the_reflected_image() -> None:
    images = random_images(100, 3, 16)
    found = set()
    for before, after in zip(images.numpy(), augmented(["crop"], 16, images, seeded()).numpy()):
        padded = np.pad(before, ((0, 0), (2, 2), (2, 2)), mode="reflect")
        windows = {(i, j): padded[:, i : i + 16, j : j + 16] for i in range(5) for j in range(5)}
        matches = [place for place, window in windows.items() if np.array_equal(window, after)]
        assert len(matches) == 1
        found.add(matches[0])
    assert len(found) == 25


def test_resized_crop_shows_at_least_half_of_the_area() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).expand(500, 1, 256, 256)  # the level is the column
    after = augmented(["resized_crop"], 256, ramp, seeded()).float()
    spread = (after[:, 0].amax((1, 2)) - after[:, 0].amin((1, 2))) / 255  # share of the width that is shown
    assert spread.min() > np.sqrt(0.5 * 3 / 4) - 0.02
    assert spread.max() > 0.98


def test_rotation_stays_within_15_degrees_and_about_the_centre() -> None:
    images = torch.zeros(200, 1, 65, 65, dtype=torch.uint8)
    images[:, :, 32, 8:11] = 255  # left of the centre by 23 pixels
    after = augmented(["rotate"], 65, images, seeded())[:, 0].double()
    y, x = torch.meshgrid(torch.arange(65.0), torch.arange(65.0), indexing="ij")
    mass = after.sum((1, 2))
    dy, dx = (after * y).sum((1, 2)) / mass - 32, (after * x).sum((1, 2)) / mass - 32
    angle = torch.rad2deg(torch.atan2(dy, -dx))
    assert angle.abs().max() < 15.5
    assert angle.max() > 12
    assert angle.min() < -12
    torch.testing.assert_close((dx**2 + dy**2).sqrt(), torch.full_like(dx, 23), rtol=0, atol=0.5)


def test_jitter_scales_brightness_and_contrast() -> None:
    images = torch.tensor([90, 110], dtype=torch.uint8).repeat(300, 1, 4, 2)  # columns of 90 and 110, mean 100
    after = augmented(["jitter"], 4, images, seeded()).float()
    mean, contrast = after.mean((1, 2, 3)) / 100, (after[..., 1] - after[..., 0]).mean((1, 2)) / 20
    assert 0.59 < mean.min() < 0.63
    assert 1.37 < mean.max() < 1.41
    assert (contrast / mean).min() > 0.5
    assert (contrast / mean).max() < 1.5


def test_a_warp_of_small_images_comes_out_at_the_size_of_the_body() -> None:
    images = smooth_images(4, 3, 16, 16)
    assert augmented(["rotate"], 48, images, seeded()).shape == (4, 3, 48, 48)
    assert augmented(["rotate"], 8, images, seeded()).shape == (4, 3, 16, 16)
    assert augmented(["crop", "hflip", "jitter"], 48, images, seeded()).shape == (4, 3, 16, 16)


def test_unknown_and_repeated_names_are_refused_together() -> None:
    with pytest.raises(ConfigError) as error:
        Augment(["hflop", "crop", "crop"], 32)
    assert len(error.value.problems) == 2
    assert "augmentation 'hflop' is unknown. Did you mean 'hflip'?" in error.value.problems[0]
    assert "augmentation 'crop' is listed twice" in error.value.problems[1]


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_device_changes_nothing() -> None:
    images = smooth_images(8, 3, 40, 40)
    for names in ([], ["crop", "hflip", "vflip"], list(AUGMENTATIONS)):
        augment = Augment(names, 64)
        draws = augment.draws(8, seeded())
        here, there = augment(images, draws), augment(images.cuda(), draws).cpu()
        assert (here.int() - there.int()).abs().max() <= (1 if "rotate" in names else 0)
    transform = EvalTransform(InputSpec(image_size=64, mean=MEAN, std=STD, crop=0.875), (3, 40, 40))
    torch.testing.assert_close(transform(images), transform(images.cuda()).cpu(), rtol=0, atol=1e-4)
