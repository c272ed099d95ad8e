"""Classification metrics against independent references."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist
from sklearn.metrics import accuracy_score, log_loss, recall_score
from torchmetrics.functional.classification import multiclass_calibration_error

from hdx.metrics import classification as m


@pytest.fixture
def outputs() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(0, 2, (500, 7)), rng.integers(0, 7, 500)
    logits[np.arange(500), labels] += 1.5
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return p, labels


def test_accuracy_nll_and_recall_against_scikit_learn(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = outputs
    predictions = p.argmax(1)
    assert m.accuracy(predictions, labels) == accuracy_score(labels, predictions)
    assert m.nll(np.log(p[np.arange(len(p)), labels])) == pytest.approx(log_loss(labels, p))
    recalls = recall_score(labels, predictions, average=None)
    np.testing.assert_allclose(m.per_class_accuracy(predictions, labels, 7), recalls)


def test_ece_against_torchmetrics(outputs: tuple[np.ndarray, np.ndarray]) -> None:
    p, labels = outputs
    expected = multiclass_calibration_error(torch.from_numpy(p), torch.from_numpy(labels), 7, n_bins=15, norm="l1").item()
    assert m.ece(p.max(1), p.argmax(1) == labels) == pytest.approx(expected, abs=1e-6)


def test_a_class_without_samples_is_nan() -> None:
    found = m.per_class_accuracy(np.array([0, 0]), np.array([0, 0]), 2)
    assert found[0] == 1.0 and np.isnan(found[1])


def test_mean_cosine_distance_against_scipy() -> None:
    features = np.random.default_rng(1).normal(1, 1, (60, 12)).astype(np.float32)
    assert m.mean_cosine_distance(features) == pytest.approx(pdist(features.astype(np.float64), "cosine").mean(), abs=1e-9)
    assert m.mean_cosine_distance(features[:1]) is None
