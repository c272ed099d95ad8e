"""Class-incremental metrics against hand-computed values and plain loops."""

from __future__ import annotations

import numpy as np
import pytest

from hdx.metrics import incremental as m

MATRIX = np.array([[0.9, np.nan, np.nan], [0.6, 0.8, np.nan], [0.5, 0.9, 0.7]])


def test_forgetting_and_bwt_by_hand() -> None:
    # forgetting: group 0: max(.9, .6) - .5 = .4 ; group 1: .8 - .9 = -.1
    assert m.forgetting(MATRIX) == pytest.approx((0.4 - 0.1) / 2)
    assert m.bwt(MATRIX) == pytest.approx(((0.5 - 0.9) + (0.9 - 0.8)) / 2)
    assert m.acc_task_mean(MATRIX) == pytest.approx((0.5 + 0.9 + 0.7) / 3)


def test_one_session_has_no_forgetting() -> None:
    assert m.forgetting(MATRIX[:1, :1]) is None
    assert m.bwt(MATRIX[:1, :1]) is None


def test_accuracy_matrix_against_a_loop() -> None:
    rng = np.random.default_rng(0)
    correct, source = [], []
    for i in range(4):
        source.append(rng.integers(0, i + 1, 50))
        correct.append(rng.random(50) < 0.6)
    matrix = m.accuracy_matrix(correct, source)
    for i in range(4):
        for j in range(4):
            hits = [c for c, s in zip(correct[i], source[i]) if s == j]
            expected = sum(hits) / len(hits) if hits else np.nan
            assert matrix[i, j] == pytest.approx(expected, nan_ok=True)


def test_session_means() -> None:
    accuracies = np.array([1.0, 0.8, 0.6])
    assert m.acc_avg_inc(accuracies) == pytest.approx(0.8)
    assert m.performance_drop(accuracies) == pytest.approx(0.4)
    assert m.harmonic_mean(0.5, 1.0) == pytest.approx(2 / 3)
    assert m.harmonic_mean(0.0, 0.0) == 0.0
    assert np.isnan(m.harmonic_mean(0.5, float("nan")))
