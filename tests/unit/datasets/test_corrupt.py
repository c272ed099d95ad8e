"""Corruptions: the formulas in float64, pure in image and index, the same however they are read."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdx.datasets._cache import Decoded
from hdx.datasets._corrupt import KINDS, Corrupted
from hdx.datasets._memory import InMemory, Pixels

SHAPE = (3, 6, 5)
PIXELS = np.random.default_rng(0).integers(0, 256, (11, *SHAPE), dtype=np.uint8)
PIXELS[0], PIXELS[1], PIXELS[2] = 0, 255, 128


def base() -> InMemory:
    return InMemory(Pixels(Decoded(PIXELS.copy(), checksum="x")), np.arange(11), np.arange(11) % 3)


def fetched(kind: str, seed: int = 0) -> np.ndarray:
    return Corrupted(base(), kind, seed).fetch(np.arange(11)).numpy()


def test_inversion_brightness_and_contrast_are_the_formulas() -> None:
    x = PIXELS.astype(np.float64)
    mean = x.mean((2, 3), keepdims=True)
    np.testing.assert_array_equal(fetched("inversion"), 255 - PIXELS)
    np.testing.assert_array_equal(fetched("brightness"), np.minimum(x + 76, 255))
    np.testing.assert_allclose(fetched("contrast"), mean + 0.2 * (x - mean), atol=0.5 + 1e-9)
    flat = fetched("contrast")[:3]
    np.testing.assert_array_equal(flat, PIXELS[:3])  # a plain image is its own mean


def test_noise_is_gaussian_of_the_given_width_and_clipped() -> None:
    grey = InMemory(Pixels(Decoded(np.full((40, 1, 32, 32), 128, np.uint8), checksum="grey")), np.arange(40), np.zeros(40))
    added = Corrupted(grey, "noise").fetch(np.arange(40)).double().numpy() - 128
    inside = np.abs(added) < 126  # 2.8 widths: what is not clipped
    assert abs(added.mean()) < 4 * 46 / np.sqrt(added.size)
    assert abs((np.abs(added) < 45.9).mean() - 0.6827) < 0.01 and inside.mean() > 0.99
    assert added.min() == -128 and added.max() == 127
    assert np.unique(added.reshape(40, -1), axis=0).shape[0] == 40  # each its own


@pytest.mark.parametrize("kind", KINDS)
def test_an_image_is_the_same_however_it_is_read(kind: str) -> None:
    split, everything = Corrupted(base(), kind), fetched(kind)
    indices = np.array([7, 0, 3, 3, 10])
    np.testing.assert_array_equal(split.fetch(indices).numpy(), everything[indices])
    parts = [np.array([2, 9]), np.array([4]), np.array([9, 1, 0])]
    for part, batch in zip(parts, split.batches(iter(parts), torch.device("cpu"))):
        np.testing.assert_array_equal(batch.numpy(), everything[part])
    np.testing.assert_array_equal(base().fetch(np.arange(11)).numpy(), PIXELS)  # what it is made of stays
    assert split.image_shape == SHAPE and split.labels.tolist() == base().labels.tolist()


def test_digests_tell_kinds_and_seeds_apart() -> None:
    digests = {Corrupted(base(), kind, seed).digest for kind in KINDS for seed in (0, 1)}
    assert len(digests) == 8 and base().digest not in digests
    assert (fetched("noise", 0) != fetched("noise", 1)).any()
