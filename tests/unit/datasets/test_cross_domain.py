from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.datasets.cross_domain import CrossDomain
from hdx.datasets.digits import Digits
from hdx.datasets.omniglot import Omniglot
from hdx.datasets.sign_digits import SignDigits
from hdx.errors import ConfigError
from hdx.protocols.episodic import Episodic


def test_the_same_dataset_twice(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"dataset\.target: expected another dataset than dataset\.source=digits, got digits"):
        CrossDomain(None, tmp_path, source="digits", target="digits")


def test_real_grey_source_and_colour_target(data_dir: Path, real_cache: Path) -> None:
    data = CrossDomain(data_dir, real_cache, source="digits", target="sign_digits", image_size=16)
    digits, signs = Digits(data_dir, real_cache), SignDigits(data_dir, real_cache, image_size=16)
    assert data.classes == [f"digits/{i}" for i in range(10)] + [f"sign_digits/{i}" for i in range(10)]
    assert data.groups is None and data.class_splits is not None
    assert {name: labels.tolist() for name, labels in data.class_splits.items()} == {
        "base": list(range(10)),
        "validation": [],
        "novel": list(range(10, 20)),
    }
    for joined, grey, colour in ((data.train, digits.train, signs.train), (data.test, digits.test, signs.test)):
        assert joined.image_shape == (3, 16, 16)
        np.testing.assert_array_equal(joined.labels, np.concatenate([grey.labels, colour.labels + 10]))
        rows = np.array([0, len(grey) - 1, len(grey), len(joined) - 1])
        found = joined.fetch(rows)
        assert torch.equal(found[2:], colour.fetch(rows[2:] - len(grey)))
        assert (found[:2] == found[:2, :1]).all()
        shrunk = found[:2, 0].float().reshape(2, 8, 2, 8, 2).mean((2, 4))
        for image, original in zip(shrunk, grey.fetch(rows[:2])[:, 0]):
            assert np.corrcoef(image.flatten(), original.flatten())[0, 1] > 0.97  # twice the size, not another image
    (bucket,) = Episodic(episodes=10).episodes(Episodic().view(data), 0)
    assert set(bucket.classes.ravel()) <= set(range(10, 20))


def test_real_two_grey_datasets_stay_grey(data_dir: Path, real_cache: Path) -> None:
    data = CrossDomain(data_dir, real_cache, source="omniglot", target="digits", image_size=28)
    assert data.train.image_shape == (1, 28, 28) and len(data.classes) == 1633
    assert torch.equal(data.test.fetch(np.arange(5)), Omniglot(data_dir, real_cache).test.fetch(np.arange(5)))
