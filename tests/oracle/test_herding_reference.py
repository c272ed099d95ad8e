"""Herding against equation 4 of iCaRL as it is written, in float64 loops."""

from __future__ import annotations

import numpy as np
import pytest

from hdx.memories._herding import herd


def by_hand(features: np.ndarray, n: int) -> list[int]:
    phi = [row / np.sqrt(sum(value * value for value in row)) for row in features.astype(np.float64)]
    mu = sum(phi) / len(phi)
    chosen: list[int] = []
    for k in range(1, n + 1):
        best, nearest = -1, np.inf
        for i in range(len(phi)):
            if i in chosen:
                continue
            mean = (phi[i] + sum((phi[j] for j in chosen), np.zeros(len(mu)))) / k
            distance = np.sqrt(((mu - mean) ** 2).sum())
            if distance < nearest:
                best, nearest = i, distance
        chosen.append(best)
    return chosen


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "d", "shift"), [(30, 6, 0.0), (40, 3, 2.0), (25, 64, 0.5)])
def test_the_order_is_that_of_equation_4(seed: int, n: int, d: int, shift: float) -> None:
    x = (np.random.default_rng(seed).normal(size=(n, d)) + shift).astype(np.float32)
    assert herd(x, n).tolist() == by_hand(x, n)


def test_on_features_after_a_relu() -> None:
    x = np.maximum(np.random.default_rng(7).normal(size=(60, 32)), 0).astype(np.float32)
    assert herd(x, 30).tolist() == by_hand(x, 30)
