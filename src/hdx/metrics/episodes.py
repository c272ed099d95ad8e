"""Few-shot metrics: one number an episode, from predictions and labels; the mean over episodes is taken elsewhere."""

from __future__ import annotations

import numpy as np

IGNORED = -1


def episode_accuracy(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Share of right predictions of each episode, [E] float64.

    Args:
        prediction, label: [E, Q] positions of classes; queries with the label -1 are padding. Each episode has a query.
    """
    real = label != IGNORED
    return ((prediction == label) & real).sum(1) / real.sum(1)


def matched_accuracy(prediction: np.ndarray, label: np.ndarray) -> np.ndarray:
    """Accuracy of each episode, [E], after the one-to-one renaming of predicted classes that suits it best (Kuhn 1955).

    A clustering score: it uses the labels of the queries, so it is an upper bound on `episode_accuracy` and no accuracy of a
    classifier (some transductive papers report it as one).
    """
    from scipy.optimize import linear_sum_assignment

    best = np.empty(len(label))
    for i, (found, wanted) in enumerate(zip(prediction, label)):
        real = wanted != IGNORED
        ways = int(max(found[real].max(), wanted[real].max())) + 1
        counts = np.zeros((ways, ways), np.int64)
        np.add.at(counts, (found[real], wanted[real]), 1)
        best[i] = counts[linear_sum_assignment(-counts)].sum() / real.sum()
    return best
