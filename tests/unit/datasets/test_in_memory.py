from __future__ import annotations

import numpy as np
import pytest
import torch

from hdx.datasets._cache import Decoded
from hdx.datasets._memory import InMemory, Pixels

IMAGES = np.random.default_rng(0).integers(0, 256, (50, 3, 6, 7), dtype=np.uint8)


def split_of(rows: list[int], labels: list[int], images: np.ndarray = IMAGES, checksum: str = "c") -> InMemory:
    return InMemory(Pixels(Decoded(images, {}, checksum)), np.array(rows), np.array(labels))


def test_fetch_and_batches_follow_rows() -> None:
    split = split_of([9, 3, 30, 3], [0, 1, 2, 1])
    assert len(split) == 4
    assert split.image_shape == (3, 6, 7)
    assert np.array_equal(split.fetch(np.array([2, 0])).numpy(), IMAGES[[30, 9]])
    parts = [np.array([1]), np.array([], dtype=np.int64), np.array([3, 0])]
    got = [batch.numpy() for batch in split.batches(parts, torch.device("cpu"))]
    assert [len(batch) for batch in got] == [1, 0, 2]
    assert np.array_equal(got[2], IMAGES[[3, 9]])


def test_changing_a_batch_does_not_change_the_images() -> None:
    split = split_of([0, 1], [0, 1])
    split.fetch(np.array([0])).zero_()
    assert np.array_equal(split.fetch(np.array([0]))[0].numpy(), IMAGES[0])


def test_digest_follows_pixels_rows_and_labels() -> None:
    digests = {
        split_of([0, 1], [0, 1]).digest,
        split_of([1, 0], [0, 1]).digest,
        split_of([0, 1], [1, 0]).digest,
        split_of([0, 1], [0, 1], checksum="d").digest,
    }
    assert len(digests) == 4
    assert split_of([0, 1], [0, 1]).digest in digests


def test_rows_and_labels_must_match() -> None:
    with pytest.raises(ValueError, match="as many labels as rows, but got 1 and 2"):
        split_of([0, 1], [0])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_batches_for_a_gpu_are_gathered_there() -> None:
    split, device = split_of(list(range(50)), [0] * 50), torch.device("cuda")
    parts = np.array_split(np.random.default_rng(1).permutation(50), 6)
    for part, batch in zip(parts, split.batches(parts, device), strict=True):
        assert batch.is_cuda
        assert np.array_equal(batch.cpu().numpy(), IMAGES[part])
