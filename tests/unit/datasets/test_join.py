"""Splits joined and reshaped: the same images as their parts give, read in any way."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from hdx.datasets._base import ImageSet
from hdx.datasets._cache import Decoded
from hdx.datasets._decode import Decoder
from hdx.datasets._join import Joined
from hdx.datasets._listing import list_classes
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._reshaped import Reshaped
from hdx.datasets._stream import Streamed
from hdx.datasets._tree import Files

CPU = torch.device("cpu")


def images(n: int, shape: tuple[int, int, int] = (1, 4, 4), seed: int = 0) -> InMemory:
    pixels = np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)
    return InMemory(Pixels(Decoded(pixels, checksum=f"{seed}")), np.arange(n), np.arange(n) % 3)


def all_of(split: ImageSet) -> torch.Tensor:
    return split.fetch(np.arange(len(split)))


def test_images_and_labels_one_after_the_other() -> None:
    parts = [images(5), images(0, seed=1), images(7, seed=2)]
    joined = Joined(parts)
    assert len(joined) == 12 and joined.image_shape == (1, 4, 4)
    assert torch.equal(all_of(joined), torch.cat([all_of(part) for part in parts]))
    np.testing.assert_array_equal(joined.labels, np.concatenate([part.labels for part in parts]))
    indices = np.array([11, 0, 5, 4, 4, 6])
    assert torch.equal(joined.fetch(indices), all_of(joined)[torch.from_numpy(indices)])
    assert Joined(parts, np.arange(12)).labels.tolist() == list(range(12))


@pytest.mark.parametrize("lazy", [False, True])
def test_batches_of_splits_in_memory_and_streamed(lazy: bool, make_tree: Callable[..., Path]) -> None:
    listing = list_classes(Files(make_tree("photos", {"a": 5, "b": 4}, kind="png", mode="L")).contents())
    streamed = Streamed(listing, Decoder(size=4, colour="grey", fit="crop"), np.arange(9), listing.labels)
    joined = Joined([images(6), streamed, images(3, seed=1)])
    parts = [np.array([0, 8, 17]), np.array([7, 6]), np.array([3]), np.array([14, 2, 14, 16]), np.array([9, 1])] * 3
    batches = list(joined.batches(iter(parts) if lazy else parts, CPU))
    assert len(batches) == len(parts)
    assert all(torch.equal(batch, joined.fetch(part)) for batch, part in zip(batches, parts))


def test_a_reader_that_stops_early_leaves_nothing_open() -> None:
    closed = []

    class Watched(InMemory):
        def batches(self, parts, device):  # type: ignore[no-untyped-def]
            try:
                yield from super().batches(parts, device)
            finally:
                closed.append(len(self))

    pixels = Pixels(Decoded(np.zeros((3, 1, 2, 2), np.uint8)))
    joined = Joined([Watched(pixels, np.arange(n), np.zeros(n, np.int64)) for n in (2, 3)])
    reader = joined.batches([np.array([0, 4])] * 5, CPU)
    next(reader)
    reader.close()  # type: ignore[attr-defined]
    assert sorted(closed) == [2, 3]


def test_digests_tell_images_and_labels_apart() -> None:
    one, two = images(5), images(7, seed=2)
    digests = {Joined([one, two]).digest, Joined([two, one]).digest, Joined([one, two], np.arange(12)).digest}
    assert len(digests) == 3 and Joined([one, two]).digest in digests
    indices = np.array([4, 0, 2])
    alone = Joined([one])
    assert alone.samples_digest(indices) == Joined([one, two]).samples_digest(indices)
    assert alone.samples_digest(indices) == Joined([two, one]).samples_digest(7 + indices)
    assert alone.samples_digest(indices) != alone.samples_digest(indices[::-1].copy())


def test_what_does_not_fit_together() -> None:
    with pytest.raises(ValueError, match=r"images of one shape, but got \[\(1, 4, 4\), \(3, 4, 4\)\]"):
        Joined([images(2), images(2, (3, 4, 4))])
    with pytest.raises(ValueError, match="a label for each of 4 images, but got 3"):
        Joined([images(2), images(2)], np.arange(3))
    with pytest.raises(ValueError, match="3 or 3 channels, but got 1"):
        Reshaped(images(2, (3, 4, 4)), (1, 4, 4))


@pytest.mark.parametrize("shape", [(1, 9, 9), (3, 12, 12), (3, 4, 4)])
def test_reshaped_is_what_pillow_makes(shape: tuple[int, int, int]) -> None:
    base = images(4)
    reshaped = Reshaped(base, shape, base.labels + 5)
    floats = [Image.fromarray(image[0].astype(np.float32)) for image in all_of(base).numpy()]  # no rounding between two passes
    expected = np.stack([np.array(image.resize(shape[1:], Image.Resampling.BICUBIC)) for image in floats]).clip(0, 255)
    found = all_of(reshaped)
    assert found.dtype == torch.uint8 and tuple(found.shape[1:]) == reshaped.image_shape == shape
    for channel in range(shape[0]):
        np.testing.assert_allclose(found[:, channel].numpy(), expected, atol=0.51)
    assert reshaped.labels.tolist() == (base.labels + 5).tolist()
    assert reshaped.digest != base.digest
    parts = [np.array([3, 1]), np.array([0])]
    assert all(torch.equal(batch, found[torch.from_numpy(part)]) for batch, part in zip(reshaped.batches(parts, CPU), parts))
