"""SLK and its limits: K-means and K-modes, by float64 loops over samples and centres in feature space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import kneighbors_graph
from tests.clusters import clusters

from hdx.heads.slk import SLK


def softmax(x):
    x = np.exp(x - x.max(1, keepdims=True))
    return x / x.sum(1, keepdims=True)


def squared(x, c):
    return ((x[:, None] - c[None]) ** 2).sum(2)


def bound_by_loop(a, graph, lam, fixed):
    """Z [N, W]; the first rows are `fixed` if they are given."""
    n = 0 if fixed is None else len(fixed)
    z, old = softmax(-a), np.inf
    z[:n] = z[:n] if fixed is None else fixed
    for i in range(600):
        z[n:] = softmax(-a + lam * graph @ z)[n:]
        free = z[n:]
        pulled = graph[n:, n:] @ free
        unary = a[n:] if fixed is None else a[n:] - lam * graph[n:, :n] @ fixed
        energy = (free * np.log(np.maximum(free, 1e-300)) + unary * free - lam * pulled * free).sum()
        if i > 1 and abs(energy - old) <= 1e-6 * abs(old):
            break
        old = energy
    return z


def mean_shift_by_loop(x, c, variance):
    for _ in range(1000):
        w = np.exp(-((x - c) ** 2).sum(1) / (2 * variance))
        new = w @ x / w.sum()
        if np.linalg.norm(new - c) < 1e-5 * np.linalg.norm(c):
            return new
        c = new
    return c


def slk_by_loop(s, y, q, mean, unary, lam, clamp):
    """Labels [Q] and assignments [Q, W] of one episode."""
    s, q = (x.double().numpy() - mean for x in (s, q))
    s, q = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (s, q))
    x = np.concatenate([s, q + s.mean(0) - q.mean(0)])
    graph = kneighbors_graph(x, 2, include_self=False).toarray()
    variance = (graph * squared(x, x)).sum() / (5 * len(x))
    given = np.eye(int(y.max()) + 1)[y.numpy()]
    c = (given / given.sum(0)).T @ s
    z = np.eye(c.shape[0])[squared(x, c).argmin(1)]
    z[: len(s)] = given
    old = np.inf
    for i in range(100):
        if unary == "means":
            c = (z / z.sum(0)).T @ x
            a = squared(x, c)
        else:
            hard = z.argmax(1)
            c = np.stack([mean_shift_by_loop(x[hard == k], c[k], variance) for k in range(len(c))])
            a = -np.exp(-squared(x, c) / (2 * variance))
        z = bound_by_loop(a, graph, lam, given if clamp else None) if lam else np.eye(len(c))[a.argmin(1)]
        if clamp:
            z[: len(s)] = given
        energy = (z * a).sum() - lam * (z * (graph @ z)).sum()
        if i > 1 and abs(energy - old) <= 1e-5 * abs(old):
            break
        old = energy
    return (z if lam else -a)[len(s) :]


@pytest.mark.parametrize("clamp", [True, False])
@pytest.mark.parametrize(("unary", "lam"), [("means", 0.0), ("modes", 0.0), ("means", 0.5), ("modes", 0.5), ("modes", 1.0)])
def test_logits_are_the_loops(unary, lam, clamp):
    s, y, q, _ = clusters(4, shots=2, queries=8, signal=1.0)
    s[3], q[3] = 0.5 * s[3], 0.5 * q[3] + 0.1
    head = SLK(64, unary=unary, lam=lam, clamp=clamp)
    head.base_mean = q.mean((0, 1))
    found = head.classify(s, y, q, 5)
    for e in range(4):
        expected = slk_by_loop(s[e], y[e], q[e], head.base_mean.double().numpy(), unary, lam, clamp)
        ours = found[e].exp() if lam else found[e]
        np.testing.assert_allclose(ours.numpy(), expected, rtol=0, atol=2e-5)


def test_episodes_that_stop_early_leave_the_others_alone():
    parts = [clusters(3, signal=signal, seed=3) for signal in (0.3, 0.8, 3.0)]
    s, y, q = (torch.cat([part[i] for part in parts]) for i in range(3))
    for options in ({"unary": "means", "lam": 0.0}, {"unary": "modes", "lam": 0.5}):
        head = SLK(64, centre="none", **options)
        together = head.classify(s, y, q, 5)
        for e in range(9):
            alone = head.classify(s[e : e + 1], y[e : e + 1], q[e : e + 1], 5)[0]
            torch.testing.assert_close(alone.softmax(1), together[e].softmax(1), rtol=0, atol=1e-5)


def test_centring_and_normalising():
    s, y, q, _ = clusters(3)
    base, plain = SLK(64), SLK(64, centre="none")
    base.base_mean = torch.full((64,), 0.7)
    torch.testing.assert_close(base.classify(s, y, q, 5), plain.classify(s - 0.7, y, q - 0.7, 5))
    assert not torch.allclose(base.classify(s, y, q, 5), plain.classify(s, y, q, 5))
    raw = SLK(64, unary="means", lam=0.0, centre="none", normalise=False)
    torch.testing.assert_close(raw.classify(s + 5, y, q + 9, 5), raw.classify(s, y, q, 5), rtol=1e-3, atol=1e-3)  # shifted back


def test_a_class_left_without_samples_keeps_its_centre():
    """One-shot, unclamped: class 1's only sample lies among those of class 0."""
    g = torch.Generator().manual_seed(0)
    blob = torch.randn(1, 40, 8, generator=g) * 0.1
    s, q = torch.tensor([[[0.0] * 8, [3.0] + [0.0] * 7]]), blob
    head = SLK(8, unary="means", lam=0.0, clamp=False, centre="none", normalise=False, shift=False)
    found = head.classify(s, torch.tensor([[0, 1]]), q, 2)
    assert torch.isfinite(found).all() and (found.argmax(2) == 0).all()
