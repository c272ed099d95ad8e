"""LDA against scikit-learn's least-squares solver and against the formula in float64 loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.base import BaseEstimator
from sklearn.datasets import load_digits
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from hdx.heads.lda import LDA, solve_symmetric


class Given(BaseEstimator):
    """A covariance estimator for scikit-learn that answers with a fixed matrix."""

    def __init__(self, matrix):
        self.matrix = matrix

    def fit(self, x, y=None):
        self.covariance_ = self.matrix
        return self


def samples(offset: float = 0.0, seed: int = 0, n: int = 600, d: int = 24, c: int = 7):
    rng = np.random.default_rng(seed)
    y = np.concatenate([np.arange(c), rng.choice(c, n - c, p=np.arange(1, c + 1) / (c * (c + 1) / 2))])
    x = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 2 * rng.normal(size=(c, d))[y] + offset
    return x.astype(np.float32), y


def covariance_by_loop(x, y, kind, ridge):
    x = x.astype(np.float64)
    total = np.zeros((x.shape[1], x.shape[1]))
    for row, label in zip(x, y):
        centre = x.mean(0) if kind == "total" else x[y == label].mean(0)
        total += np.outer(row - centre, row - centre)
    return total / (len(x) - 1 if kind == "total" else len(x)) + ridge * np.eye(x.shape[1])


def fitted(x, y, **options) -> LDA:
    head = LDA(x.shape[1], **options)
    head.expand(int(y.max()) + 1)
    head.update(torch.from_numpy(x), torch.from_numpy(y))
    return head


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("kind", ["total", "within"])
@pytest.mark.parametrize("ridge", [0.0, 1.0])
@pytest.mark.parametrize("prior", ["uniform", "empirical"])
def test_same_predictions_as_sklearn(offset, kind, ridge, prior):
    x, y = samples(offset)
    head = fitted(x, y, covariance=kind, ridge=ridge, prior=prior)
    covariance = covariance_by_loop(x, y, kind, ridge)
    np.testing.assert_allclose(head.regularised_covariance().numpy(), covariance, rtol=1e-9, atol=1e-9)
    priors = np.full(7, 1 / 7) if prior == "uniform" else None
    oracle = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given(covariance), priors=priors)
    oracle.fit(x.astype(np.float64), y)
    test, _ = samples(offset, seed=1)
    ours = head(torch.from_numpy(test))
    assert (ours.argmax(1).numpy() == oracle.predict(test.astype(np.float64))).all()
    np.testing.assert_allclose(ours.softmax(1).numpy(), oracle.predict_proba(test.astype(np.float64)), atol=1e-7)


def test_within_empirical_without_ridge_is_sklearns_default():
    x, y = samples()
    head = fitted(x, y, covariance="within", ridge=0.0, prior="empirical")
    oracle = LinearDiscriminantAnalysis(solver="lsqr").fit(x.astype(np.float64), y)
    np.testing.assert_allclose(
        head(torch.from_numpy(x)).softmax(1).numpy(), oracle.predict_proba(x.astype(np.float64)), atol=1e-7
    )


def test_digits_predictions_and_accuracy():
    x, y = load_digits(return_X_y=True)
    head = fitted(x[:1000].astype(np.float32), y[:1000], ridge=1.0)
    covariance = np.cov(x[:1000].T) + np.eye(64)
    oracle = LinearDiscriminantAnalysis(solver="lsqr", covariance_estimator=Given(covariance), priors=np.full(10, 0.1))
    oracle.fit(x[:1000], y[:1000])
    ours = head(torch.from_numpy(x[1000:].astype(np.float32))).argmax(1).numpy()
    assert (ours == oracle.predict(x[1000:])).all()
    assert (ours == y[1000:]).mean() > 0.88


def test_logits_are_the_formula_up_to_one_number_a_sample():
    x, y = samples(offset=3.0)
    head = fitted(x, y, ridge=0.5)
    inverse = np.linalg.inv(covariance_by_loop(x, y, "total", 0.5))
    expected = np.zeros((20, 7))
    for i in range(20):
        for c in range(7):
            mu = x[y == c].astype(np.float64).mean(0)
            expected[i, c] = x[i] @ inverse @ mu - 0.5 * mu @ inverse @ mu
    difference = head(torch.from_numpy(x[:20])).numpy() - expected
    np.testing.assert_allclose(difference, np.repeat(difference[:, :1], 7, axis=1), atol=1e-9)


def test_singular_covariance_is_solved_by_the_pseudo_inverse():
    x, y = samples(n=12, d=24, c=3)
    head = fitted(x, y, ridge=0.0)
    covariance = covariance_by_loop(x, y, "total", 0.0)
    assert np.linalg.matrix_rank(covariance) == 11
    centred = np.stack([x[y == c].astype(np.float64).mean(0) for c in range(3)]) - x.astype(np.float64).mean(0)
    weight = centred @ np.linalg.pinv(covariance, rcond=1e-10, hermitian=True)
    expected = (x.astype(np.float64) - x.astype(np.float64).mean(0)) @ weight.T - 0.5 * (weight * centred).sum(1)
    np.testing.assert_allclose(head(torch.from_numpy(x)).numpy(), expected, atol=1e-7)


def test_solve_symmetric_of_a_regular_matrix():
    rng = np.random.default_rng(0)
    a = rng.normal(size=(9, 9))
    a = a @ a.T + np.eye(9)
    b = rng.normal(size=(9, 4))
    np.testing.assert_allclose(solve_symmetric(torch.tensor(a), torch.tensor(b)).numpy(), np.linalg.solve(a, b), atol=1e-12)
