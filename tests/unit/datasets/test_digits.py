from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import torch

from hdx.datasets.digits import Digits


def test_pixels_are_scikit_learns(cache_dir: Path) -> None:
    from sklearn.datasets import load_digits

    for _ in range(2):  # decoded, then from the cache
        digits = Digits(None, cache_dir)
        source = load_digits()
        assert (len(digits.train), len(digits.test)) == (1258, 539)
        assert digits.train.image_shape == (1, 8, 8)
        for split in (digits.train, digits.test):
            images = split.fetch(np.arange(len(split)))
            assert images.dtype == torch.uint8
            assert np.array_equal(np.rint(images[:, 0].double().numpy() * 16 / 255), source.images[split.rows])
            assert np.array_equal(split.labels, source.target[split.rows])
    assert digits.classes == list("0123456789")
    assert digits.groups is None


def test_split_is_pinned(cache_dir: Path) -> None:
    digits = Digits(None, cache_dir)
    assert not set(digits.train.rows) & set(digits.test.rows)
    assert hashlib.sha256(digits.test.rows.tobytes()).hexdigest()[:16] == "e6697f9af83be82a"
    other = Digits(None, cache_dir, split_seed=1)
    assert other.test.digest != digits.test.digest
    assert Digits(None, cache_dir).test.digest == digits.test.digest


def test_test_fraction_holds_in_each_class(cache_dir: Path) -> None:
    digits = Digits(None, cache_dir, test_fraction=0.5)
    both = np.bincount(digits.train.labels) - np.bincount(digits.test.labels)
    assert np.abs(both).max() <= 1
