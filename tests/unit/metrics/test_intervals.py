"""Student intervals and paired differences against scipy.stats."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from hdx.metrics.intervals import mean_ci, paired_difference, student_t

values = st.lists(st.floats(0, 1), min_size=2, max_size=20).filter(lambda x: np.std(x) > 1e-6)


@settings(max_examples=30, deadline=None)
@given(values, st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_interval_is_scipys(sample: list[float], level: float) -> None:
    low, high = stats.t.interval(level, len(sample) - 1, loc=np.mean(sample), scale=stats.sem(sample))
    ours = mean_ci(sample, level)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-10)
    assert ours.n == len(sample) and ours.std == pytest.approx(np.std(sample, ddof=1))


def test_a_known_interval() -> None:
    ours = mean_ci([0.70, 0.72, 0.74])  # t(0.975, 2) = 4.302653, s = 0.02
    assert ours.mean == pytest.approx(0.72)
    assert ours.half == pytest.approx(4.302652729696142 * 0.02 / math.sqrt(3))
    assert student_t(0.95, 4) == pytest.approx(2.7764451051977934)


def test_small_and_undefined_samples() -> None:
    assert mean_ci([]).n == 0 and math.isnan(mean_ci([]).mean)
    one = mean_ci([0.5])
    assert (one.mean, one.n) == (0.5, 1) and math.isnan(one.half)
    gaps = mean_ci([0.5, None, math.nan, 0.7])
    assert gaps.n == 2 and gaps.mean == pytest.approx(0.6)
    with pytest.raises(ValueError, match=r"level: expected a number in \(0, 1\), got 95"):
        mean_ci([1.0, 2.0], 95)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=10))
def test_paired_difference_is_scipys_paired_test(pairs: list[tuple[float, float]]) -> None:
    a, b = (np.array(side) for side in zip(*pairs))
    if np.std(a - b) < 1e-6:
        return
    ours = paired_difference(dict(enumerate(a)), dict(enumerate(b)))
    theirs = stats.ttest_rel(a, b)
    interval = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-9)
    assert (ours.difference.low, ours.difference.high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_only_shared_seeds_are_paired() -> None:
    ours = paired_difference({0: 0.9, 1: 0.8, 2: None, 5: 0.1}, {1: 0.7, 0: 0.8, 2: 0.4, 7: 1.0})
    assert ours.keys == (0, 1) and ours.difference.mean == pytest.approx(0.1)
    nothing = paired_difference({0: 0.5}, {1: 0.5})
    assert nothing.keys == () and nothing.difference.n == 0 and math.isnan(nothing.p)


def test_equal_differences_have_no_variance() -> None:
    same = paired_difference({0: 0.5, 1: 0.75}, {0: 0.5, 1: 0.75})
    assert (same.difference.mean, same.difference.half, same.p) == (0.0, 0.0, 1.0)
    assert paired_difference({0: 0.5, 1: 0.75}, {0: 0.25, 1: 0.5}).p == 0.0
