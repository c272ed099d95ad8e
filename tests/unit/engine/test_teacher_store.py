"""What is left of a teacher's outputs when they are kept in 16 bits, against the bounds that the stores state."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp, softmax

from hdx.engine._teacher_store import Fp16, Store, TopK, store_of


@st.composite
def logits(draw: st.DrawFn, most: int = 300) -> np.ndarray:
    """[B, C] float32, of a sure or an unsure teacher, far from 0 or near, some classes ruled out."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    found = rng.standard_normal((draw(st.integers(1, 4)), draw(st.integers(2, most))))
    found = found * draw(st.sampled_from([1e-3, 1.0, 10.0, 300.0])) + draw(st.sampled_from([0.0, -50.0, 1e3]))
    ruled_out = rng.random(found.shape) < draw(st.sampled_from([0.0, 0.4]))
    ruled_out[:, 0] = False
    return np.where(ruled_out, -np.inf, found).astype(np.float32)


def back(store: Store, values: np.ndarray) -> np.ndarray:
    words = store.encode(values, np.zeros((len(values), 0), np.float32))
    assert words.shape == (len(values), store.width) and words.dtype == np.uint16
    found, features = store.decode(words)
    assert features is None and found.dtype == np.float32
    return found


@settings(max_examples=60, deadline=None)
@given(logits())
def test_fp16_keeps_every_logit_within_its_bound(values: np.ndarray) -> None:
    found = back(Fp16(values.shape[1], 0), values).astype(np.float64)
    np.testing.assert_array_equal(np.isneginf(found), np.isneginf(values))
    exact, largest = values.astype(np.float64), values.max(1, keepdims=True).astype(np.float64)
    there = np.isfinite(values)
    bound = 2**-11 * (largest - exact) + 2**-25 + 2**-24 * np.abs(exact)
    assert (np.abs(found[there] - exact[there]) <= bound[there]).all()
    np.testing.assert_array_equal(found.max(1), exact.max(1))


@settings(max_examples=60, deadline=None)
@given(logits(), st.integers(1, 40))
def test_top_k_is_within_its_bound_in_total_variation(values: np.ndarray, k: int) -> None:
    n = values.shape[1]
    found = back(TopK(n, 0, k), values).astype(np.float64)
    p, q = softmax(values.astype(np.float64), 1), softmax(found, 1)
    rest = 1 - np.sort(p, 1)[:, ::-1][:, :k].sum(1)
    rounding = 2**-23 * np.abs(found).max(1, where=np.isfinite(found), initial=0)  # of float32
    assert (np.abs(p - q).sum(1) / 2 <= rest + 1.02 * 2**-11 * np.log(n) + rounding + 1e-6).all()


@settings(max_examples=60, deadline=None)
@given(logits(), st.integers(1, 40))
def test_top_k_keeps_the_largest_and_gives_the_others_their_mean(values: np.ndarray, k: int) -> None:
    found = back(TopK(values.shape[1], 0, k), values).astype(np.float64)
    for row, exact in zip(found, values.astype(np.float64)):
        whole, order = logsumexp(exact), np.argsort(-exact, kind="stable")
        kept, others = exact[order[:k]] - whole, exact[order[k:]] - whole
        even = np.full(len(others), logsumexp(others) - np.log(len(others))) if np.isfinite(others).any() else others
        for got, want in zip(np.sort(row)[::-1], np.concatenate([kept, even])):
            assert got - whole == want or abs(got - whole - want) <= 2**-11 * abs(want) + 2**-25 + 2**-22 * abs(got)


def test_the_scale_of_logits_comes_back() -> None:
    values = np.array([[12.0, 3.0, -4.0, 0.5], [-7.0, -7.5, -100.0, -9.0]], np.float32)
    for store in (Fp16(4, 0), TopK(4, 0, 3)):
        np.testing.assert_allclose(back(store, values)[0, :2], [12, 3], atol=0.01)
    np.testing.assert_allclose(back(TopK(4, 0, 4), values), values, rtol=1e-3, atol=1e-3)


def test_values_beyond_float16() -> None:
    values = np.array([[0.0, -1e6, -np.inf], [1e6, 1e6 + 1, 9e5]], np.float32)
    np.testing.assert_array_equal(back(Fp16(3, 0), values), [[0, -65504, -np.inf], [1e6, 1e6 + 1, 1e6 + 1 - 65504]])
    _, features = Fp16(3, 2).decode(Fp16(3, 2).encode(values, np.array([[1e6, 0.1], [-1e6, 2.0]], np.float32)))
    assert features is not None
    np.testing.assert_array_equal(features, np.array([[65504, 0.1], [-65504, 2]], np.float16).astype(np.float32))


@pytest.mark.parametrize("name", ["fp16", "top_k"])
def test_a_row_is_a_function_of_itself(name: str) -> None:
    rng = np.random.default_rng(0)
    values, features = rng.standard_normal((64, 100)).astype(np.float32) * 5, rng.standard_normal((64, 7)).astype(np.float32)
    store = store_of(name, 10, 100, 7)
    whole = store.encode(values, features)
    for rows in (np.array([5]), np.array([9, 5, 63]), np.arange(33)):
        np.testing.assert_array_equal(store.encode(values[rows], features[rows]), whole[rows])
        for one, other in zip(store.decode(whole[rows]), store.decode(whole)):
            assert one is not None and other is not None
            np.testing.assert_array_equal(one, other[rows])
    _, found = store.decode(whole)
    np.testing.assert_array_equal(found, features.astype(np.float16).astype(np.float32))


def test_bytes_of_a_row_and_classes_beyond_two_bytes() -> None:
    assert 2 * Fp16(100, 0).width == 204
    assert 2 * TopK(21843, 0, 32).width == 2 * (3 + 64)
    wide = TopK(70_000, 0, 3)
    assert 2 * wide.width == 2 * (3 + 9)
    values = np.zeros((1, 70_000), np.float32)
    values[0, [1, 65_537, 69_999]] = 20, 30, 25
    np.testing.assert_allclose(back(wide, values)[0, [1, 65_537, 69_999, 3]], [20, 30, 25, 0], atol=0.02)
