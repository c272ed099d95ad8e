"""LaplacianShot: its graph, its limits, and iterations that no other episode can touch."""

from __future__ import annotations

import pytest
import torch
from tests.clusters import accuracy, clusters
from torch.nn import functional as F

from hdx.heads.bd_cspn import rectified_prototypes
from hdx.heads.laplacian_shot import LaplacianShot


def softmax_of_distances(s, y, q):
    s, q = F.normalize(s.double(), dim=2), F.normalize(q.double(), dim=2)
    return (-torch.cdist(q, rectified_prototypes(s, y, q, 5)).square()).softmax(2)


@pytest.mark.parametrize("options", [{"lam": 0.0}, {"steps": 0}, {"knn": 1}], ids=str)
def test_without_a_laplacian_term_assignments_are_a_softmax_of_distances(options):
    s, y, q, _ = clusters(3)
    found = LaplacianShot(64, **options).classify(s, y, q, 5).double().exp()
    torch.testing.assert_close(found, softmax_of_distances(s, y, q), rtol=0, atol=1e-6)


def test_one_step_adds_the_assignments_of_two_neighbours():
    s, y, q, _ = clusters(3)
    start = softmax_of_distances(s, y, q)
    far = 1 - F.normalize(q.double(), dim=2) @ F.normalize(q.double(), dim=2).transpose(1, 2)  # cosine distance
    for e in range(3):
        found = LaplacianShot(64, lam=0.7, steps=1).classify(s, y, q, 5)[e].double()
        for i in range(75):
            nearest = [j for j in far[e, i].argsort().tolist() if j != i][:2]
            expected = (start[e, i].log() + 0.7 * start[e, nearest].sum(0)).softmax(0)
            torch.testing.assert_close(found[i].exp(), expected, rtol=0, atol=1e-6)


def test_an_episode_does_not_depend_on_slower_ones_beside_it():
    """In one batch with an episode that goes on for long, an early one stays where it stopped alone."""
    s, y, q, _ = clusters(8, signal=1.2)
    hard = clusters(8, seed=9, signal=0.0)
    head = LaplacianShot(64, lam=1.0, knn=6, steps=500)
    together = head.classify(*(torch.cat(parts) for parts in zip((s, y, q), hard)), 5).exp()
    alone = torch.cat([head.classify(*(part[e : e + 1] for part in (s, y, q)), 5) for e in range(8)]).exp()
    torch.testing.assert_close(together[:8], alone, rtol=0, atol=2e-6)
    third = LaplacianShot(64, lam=1.0, knn=6, steps=3).classify(s, y, q, 5).exp()
    assert (third - alone).abs().max() > 1e-2  # they do move after the third step


def test_rows_are_distributions_and_finite_when_far_apart():
    s, y, q, _ = clusters(2, signal=30.0)
    found = LaplacianShot(64, normalise=False, lam=50.0).classify(s, y, q, 5)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found.exp().sum(2), torch.ones(2, 75))


def test_neighbours_help_in_one_shot():
    s, y, q, truth = clusters(60, shots=1, signal=0.8)
    base = q.mean((0, 1))
    head = LaplacianShot(64, lam=1.0, centre="base")
    head.base_mean.copy_(base)
    assert head.centres_on_base and not LaplacianShot(64).centres_on_base
    plain = F.normalize(q, dim=2) @ F.normalize(s, dim=2).transpose(1, 2)
    assert accuracy(head.classify(s, y, q, 5), truth) > accuracy(plain, truth) + 0.05
