"""Laws of herding."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.memories._herding import herd


def features(seed: int, n: int, d: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).normal(1.0, 1.0, (n, d)).astype(np.float32)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1000), st.integers(1, 20), st.integers(0, 25))
def test_distinct_and_the_first_of_more_are_those_of_fewer(seed: int, n: int, wanted: int) -> None:
    x = features(seed, n)
    chosen = herd(x, wanted)
    assert len(set(chosen.tolist())) == len(chosen) == min(n, wanted)
    for fewer in range(wanted):
        assert herd(x, fewer).tolist() == chosen[:fewer].tolist()


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.data())
def test_lengths_of_features_and_their_order_do_not_matter(seed: int, data: st.DataObject) -> None:
    x = features(seed, 12)
    lengths = np.random.default_rng(seed).uniform(0.1, 10, (12, 1)).astype(np.float64)
    assert herd(x * lengths, 6).tolist() == herd(x, 6).tolist()
    order = np.array(data.draw(st.permutations(range(12))))
    assert order[herd(x[order], 6)].tolist() == herd(x, 6).tolist()


def test_of_equal_images_the_first() -> None:
    x = np.repeat(features(0, 5), 7, axis=0)  # 5 images, each 7 times
    chosen = herd(x, 35)
    for image in range(5):
        copies = [position for position in chosen.tolist() if position // 7 == image]
        assert copies == sorted(copies)
    one = np.ones((9, 3))
    assert herd(one, 4).tolist() == [0, 1, 2, 3]


def test_the_mean_of_the_chosen_nears_the_mean_faster_than_that_of_a_draw() -> None:
    """Welling 2009: an error of 1/k for herding against 1/sqrt(k) for a random draw."""
    x = features(3, 400, 8).astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    rng = np.random.default_rng(0)
    for k in (10, 40):
        herded = np.linalg.norm(x[herd(x, k)].mean(0) - x.mean(0))
        drawn = np.mean([np.linalg.norm(x[rng.permutation(400)[:k]].mean(0) - x.mean(0)) for _ in range(50)])
        assert herded < drawn / 3


def test_none_and_zeros() -> None:
    assert herd(np.zeros((0, 3)), 5).tolist() == []
    assert herd(np.zeros((3, 3)), 2).tolist() == [0, 1]
    assert herd(features(0, 3), 0).tolist() == []
