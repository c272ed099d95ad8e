"""The graph of nearest neighbours against scikit-learn's, and the bound against a numpy loop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import kneighbors_graph

from hdx.heads._laplacian import knn_graph, laplacian_bound


def problem(n_episodes=4, n=30, ways=4, k=2, seed=0):
    g = torch.Generator().manual_seed(seed)
    features = torch.randn(n_episodes, n, 6, generator=g)
    unary = 2 * torch.rand(n_episodes, n, ways, generator=g)
    return features, unary, knn_graph(features, k)


def bound_by_loop(unary, graph, lam, steps, tol, start=None):
    """Assignments [N, W] and the number of steps, as published: stop from the third step on."""
    unary, graph = unary.double().numpy(), graph.double().numpy()

    def softmax(x):
        return np.exp(x) / np.exp(x).sum(1, keepdims=True)

    y = softmax(-unary) if start is None else start.double().numpy()
    old = np.inf
    for i in range(steps):
        y = softmax(-unary + lam * graph @ y)
        energy = (y * np.log(y) + unary * y - lam * (graph @ y) * y).sum()
        if i > 1 and abs(energy - old) <= tol * abs(old):
            return y, i + 1
        old = energy
    return y, steps


@pytest.mark.parametrize("k", [1, 2, 5])
@pytest.mark.parametrize("offset", [0.0, 50.0])
def test_graph_is_sklearns(k, offset):
    features, _, _ = problem()
    for x, graph in zip(features, knn_graph(features + offset, k)):
        assert np.array_equal(graph.numpy(), kneighbors_graph(x.numpy(), k, include_self=False).toarray())


def test_graph_of_few_and_of_equal_samples():
    assert knn_graph(torch.randn(2, 1, 3), 2).abs().sum() == 0
    assert torch.equal(knn_graph(torch.randn(1, 3, 3), 9)[0], 1 - torch.eye(3))
    same = knn_graph(torch.ones(1, 5, 3), 2)[0]
    assert (same.diagonal() == 0).all() and (same.sum(1) == 2).all()


@pytest.mark.parametrize(
    ("lam", "steps", "tol"), [(0.7, 20, 1e-6), (0.1, 3, 1e-6), (1.5, 200, 1e-9), (0.0, 20, 1e-6), (0.5, 0, 1e-6)]
)
def test_bound_is_the_loops(lam, steps, tol):
    _, unary, graph = problem()
    found = laplacian_bound(unary, graph, lam, steps, tol)
    for e in range(4):
        expected, _ = bound_by_loop(unary[e], graph[e], lam, steps, tol)
        np.testing.assert_allclose(found[e].numpy(), expected, atol=1e-6)


def test_bound_from_a_given_start():
    _, unary, graph = problem()
    start = torch.rand(4, 30, 4).softmax(2)
    found = laplacian_bound(unary, graph, 0.5, 4, 1e-9, start=start)
    for e in range(4):
        np.testing.assert_allclose(found[e].numpy(), bound_by_loop(unary[e], graph[e], 0.5, 4, 1e-9, start[e])[0], atol=1e-6)


def test_each_episode_stops_on_its_own():
    _, unary, graph = problem(n_episodes=5)
    unary = unary * torch.tensor([0.1, 0.5, 1.0, 3.0, 10.0])[:, None, None]
    counts = [bound_by_loop(unary[e], graph[e], 1.0, 300, 1e-6)[1] for e in range(5)]
    assert len(set(counts)) > 2
    together = laplacian_bound(unary, graph, 1.0, 300, 1e-6)
    for e in range(5):
        alone = laplacian_bound(unary[e : e + 1], graph[e : e + 1], 1.0, 300, 1e-6)[0]
        torch.testing.assert_close(alone, together[e], rtol=0, atol=1e-7)
        torch.testing.assert_close(laplacian_bound(unary[e : e + 1], graph[e : e + 1], 1.0, counts[e], 0.0)[0], alone)
