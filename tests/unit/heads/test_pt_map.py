"""PT-MAP: transport plans against scipy's logsumexp in a loop, the whole method in float64, and what must not underflow."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import logsumexp
from tests.clusters import accuracy, clusters

from hdx.heads.pt_map import PTMAP, sinkhorn


def plan_by_loop(cost, lam, steps=5000):
    """Log plan [Q, W] of costs [Q, W]: rows sum to 1, columns to Q / W."""
    log_plan = -lam * np.asarray(cost, dtype=np.float64)
    for _ in range(steps):
        log_plan = log_plan - logsumexp(log_plan, axis=0, keepdims=True) + np.log(cost.shape[0] / cost.shape[1])
        before, log_plan = log_plan, log_plan - logsumexp(log_plan, axis=1, keepdims=True)
        if np.abs(log_plan - before).max() < 1e-13:
            break
    return log_plan


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def map_by_loop(s, y, q, steps, alpha, lam, centre):
    """One episode in float64; log plan [Q, W]."""
    x, z = (unit(np.sqrt(np.maximum(unit(f.double().numpy()), 0) + 1e-6)) for f in (s, q))
    if centre:
        x, z = unit(x - x.mean(0)), unit(z - z.mean(0))
    y = np.eye(int(y.max()) + 1)[y.numpy()]
    mu = (y / y.sum(0)).T @ x
    for _ in range(steps):
        log_plan = plan_by_loop(((z[:, None] - mu[None]) ** 2).sum(2), lam)
        weights = np.concatenate([y, np.exp(log_plan)])
        mu = mu + alpha * ((weights / weights.sum(0)).T @ np.concatenate([x, z]) - mu)
    return plan_by_loop(((z[:, None] - mu[None]) ** 2).sum(2), lam)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6), queries=st.integers(2, 30), ways=st.integers(2, 6), spread=st.sampled_from([0.1, 0.3, 0.6]))
def test_a_plan_is_scipys(seed, queries, ways, spread):
    cost = spread * np.random.default_rng(seed).random((queries, ways))
    scores = torch.from_numpy(-10 * cost.T)[None]
    potentials = sinkhorn(scores, torch.zeros(1, ways, 1, dtype=torch.float64), 3000, 1e-11)
    found = (scores + potentials).softmax(1)[0].T.numpy()
    np.testing.assert_allclose(found, np.exp(plan_by_loop(cost, 10.0, 3000)), atol=1e-6)
    np.testing.assert_allclose(found.sum(1), 1.0, atol=1e-12)
    np.testing.assert_allclose(found.sum(0), queries / ways, rtol=1e-6)


def test_a_class_that_nobody_is_near_gets_its_share():
    scores = torch.zeros(1, 3, 12, dtype=torch.float64)
    scores[:, 2] = -3000.0  # exp gives 0 even in float64
    potentials = sinkhorn(scores, torch.zeros(1, 3, 1, dtype=torch.float64), 1000, 1e-9)
    torch.testing.assert_close((scores + potentials).softmax(1).sum(2), torch.full((1, 3), 4.0, dtype=torch.float64))


def test_classes_far_apart_take_few_steps():
    """One query of class 0 must go over to class 2, which all are sure not to be."""
    cost = np.full((12, 3), 4.0)
    cost[np.arange(12), [0] * 5 + [1] * 4 + [2] * 3] = np.linspace(0.1, 0.3, 12)
    scores = torch.from_numpy(-10 * cost.T)[None]
    potentials = sinkhorn(scores, torch.zeros(1, 3, 1, dtype=torch.float64), 300, 1e-9)
    plan = (scores + potentials).softmax(1)
    torch.testing.assert_close(plan.sum(2), torch.full((1, 3), 4.0, dtype=torch.float64), rtol=1e-8, atol=0)
    np.testing.assert_allclose(plan[0].T.numpy(), np.exp(plan_by_loop(cost, 10.0, 500)), atol=1e-6)


def test_episodes_of_a_batch_stop_on_their_own():
    torch.manual_seed(0)
    scores = -torch.tensor([1.0, 30.0, 200.0], dtype=torch.float64)[:, None, None] * torch.rand(3, 5, 20, dtype=torch.float64)
    start = torch.zeros(3, 5, 1, dtype=torch.float64)
    together = sinkhorn(scores, start, 1000, 1e-6)
    assert all(torch.equal(sinkhorn(scores[e : e + 1], start[:1], 1000, 1e-6)[0], together[e]) for e in range(3))


@pytest.mark.parametrize("centre", [False, True])
def test_logits_are_the_loops(centre):
    s, y, q, _ = clusters(3, shots=2, queries=8, signal=0.5)
    head = PTMAP(64, steps=4, alpha=0.3, lam=10.0, centre=centre, sinkhorn_steps=5000, sinkhorn_tol=1e-9)
    found = head.classify(s.double(), y, q.double(), 5)
    for e in range(3):
        expected = map_by_loop(s[e], y[e], q[e], 4, 0.3, 10.0, centre)
        np.testing.assert_allclose(found[e].numpy(), expected, rtol=0, atol=1e-5)


def test_the_default_tolerance_is_near_the_limit():
    s, y, q, _ = clusters(20, shots=1)
    near, limit = (PTMAP(64, sinkhorn_tol=tol, centre=False).classify(s, y, q, 5).softmax(2) for tol in (1e-6, 1e-12))
    torch.testing.assert_close(near, limit, rtol=0, atol=1e-5)
    torch.testing.assert_close(near.sum(1), torch.full((20, 5), 15.0), rtol=1e-5, atol=0)


@pytest.mark.parametrize("renormalise", [True, False])
def test_one_shot_of_640_normalised_features_is_not_chance(renormalise):
    s, y, q, truth = clusters(10, shots=1, n_features=640, signal=0.5)
    assert accuracy(PTMAP(640, renormalise=renormalise, centre=False).classify(s, y, q, 5), truth) > 0.8


def test_other_powers_and_negative_features():
    s, y, q, _ = clusters(2)
    s, q = s - 0.5, q - 0.5
    head = PTMAP(64, power=0.3, normalise=False, renormalise=False, steps=0, centre=False)
    torch.testing.assert_close(head.transform(q), (q.clamp(min=0) + 1e-6) ** 0.3)
    assert torch.isfinite(head.classify(s, y, q, 5)).all()
