"""Accuracy of an episode, plain and after matching."""

from __future__ import annotations

from itertools import permutations

import numpy as np

from hdx.metrics.episodes import episode_accuracy, matched_accuracy


def test_padding_counts_for_nothing() -> None:
    prediction = np.array([[0, 1, 1, 0], [2, 0, -1, -1]])
    label = np.array([[0, 1, 0, 1], [2, 1, -1, -1]])
    np.testing.assert_array_equal(episode_accuracy(prediction, label), [0.5, 0.5])


def test_matched_is_the_best_renaming() -> None:
    rng = np.random.default_rng(0)
    prediction, label = rng.integers(0, 4, (20, 15)), rng.integers(0, 4, (20, 15))
    best = [max((np.array(names)[p] == y).mean() for names in permutations(range(4))) for p, y in zip(prediction, label)]
    np.testing.assert_allclose(matched_accuracy(prediction, label), best)
    assert (matched_accuracy(prediction, label) >= episode_accuracy(prediction, label)).all()


def test_a_renamed_prediction_is_matched_fully() -> None:
    label = np.repeat(np.arange(5), 3)[None]
    assert episode_accuracy((label + 1) % 5, label)[0] == 0
    assert matched_accuracy((label + 1) % 5, label)[0] == 1
