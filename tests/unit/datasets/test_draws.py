"""Stored crops: numbers by place."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats

from hdx.datasets._draws import StoredCrops, philox

KNOWN = [  # counter, key, words: the known answers of the authors' Random123
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(counter: str, key: str, expected: str) -> None:
    low, high = (int(word, 16) for word in key.split())
    words = philox(np.array([[int(word, 16) for word in counter.split()]], np.uint64), high << 32 | low)
    assert " ".join(f"{int(word):08x}" for word in words[0]) == expected


def test_a_row_is_its_own_whatever_is_asked_beside_it() -> None:
    crops, rows = StoredCrops(4, 3), np.array([2**33 + 5, 0, 5, 17, 5])
    draws = crops.draws(rows, 2, 11)
    assert draws.shape == (5, 11) and draws.dtype == torch.float32
    assert torch.equal(draws[2], draws[4]) and not torch.equal(draws[2], draws[0])
    for i, row in enumerate(rows):
        assert torch.equal(crops.draws(np.array([row]), 2, 11)[0], draws[i])
    assert torch.equal(crops.draws(rows, 2, 3), draws[:, :3])
    for other in (StoredCrops(4, 4).draws(rows, 2, 11), crops.draws(rows, 1, 11)):
        assert not (other == draws).any()


def test_they_are_uniform_and_independent_between_rows_crops_and_columns() -> None:
    draws = np.stack([StoredCrops(3, 0).draws(np.arange(4000), crop, 5).numpy() for crop in range(3)], 1)  # [N, 3, 5]
    assert draws.min() >= 0 and draws.max() < 1
    assert stats.kstest(draws.ravel(), "uniform").pvalue > 1e-3
    flat = draws.reshape(4000, -1)
    correlation = np.corrcoef(np.concatenate([flat[:-1], flat[1:]], 1), rowvar=False)
    assert np.abs(correlation - np.eye(30)).max() < 4.5 / np.sqrt(4000)
