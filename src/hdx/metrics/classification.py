"""Classification metrics on per-sample predictions."""

from __future__ import annotations

import numpy as np


def share(hits: np.ndarray) -> float:
    """Share of true entries of [N] bool; nan where there are none, as for classes without test images."""
    return float(hits.mean()) if len(hits) else float("nan")


def accuracy(predictions: np.ndarray, labels: np.ndarray) -> float:
    """Share of samples predicted right, over samples (not over batches)."""
    return share(predictions == labels)


def per_class_accuracy(predictions: np.ndarray, labels: np.ndarray, n_classes: int) -> np.ndarray:
    """[n_classes] accuracy of each class; nan for a class without samples."""
    total = np.bincount(labels, minlength=n_classes)
    hits = np.bincount(labels[predictions == labels], minlength=n_classes)
    return np.where(total > 0, hits / np.maximum(total, 1), np.nan)


def nll(log_p_label: np.ndarray) -> float:
    """Mean negative log-likelihood in nats of log p(label) [N]."""
    return float(-np.mean(log_p_label, dtype=np.float64)) if len(log_p_label) else float("nan")


def ece(confidences: np.ndarray, correct: np.ndarray, n_bins: int = 15) -> float:
    """Expected calibration error with equal-width bins (Guo et al. 2017): sum_b |B_b|/N |acc(B_b) - conf(B_b)|.

    Args:
        confidences: [N] probability of the predicted class, in [0, 1].
        correct: [N] bool.
        n_bins: bins ((b-1)/n, b/n]; a confidence of 0 falls in the first.
    """
    if not len(confidences):
        return float("nan")
    bins = np.clip(np.ceil(np.asarray(confidences, np.float64) * n_bins).astype(int) - 1, 0, n_bins - 1)
    gap = np.bincount(bins, weights=np.asarray(correct, np.float64) - confidences, minlength=n_bins)
    return float(np.abs(gap).sum() / len(confidences))


def mean_cosine_distance(features: np.ndarray) -> float | None:
    """Mean over pairs i != j of 1 - cos(f_i, f_j) of features [N, D]; None under two samples.

    FSA's gain predictor (Panos et al. 2023) when the features are the first session's images under the unadapted body;
    closed form over the sum of unit vectors, O(N D). The exact statistic of the paper is taken from memory.
    """
    if len(features) < 2:
        return None
    unit = features.astype(np.float64)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    n = len(unit)
    squares = (unit**2).sum()
    return float(1 - ((unit.sum(0) ** 2).sum() - squares) / (n * (n - 1)))
