"""BD-CSPN: prototypes worked out by hand, and laws of the rectification."""

from __future__ import annotations

import math

import torch
from tests.clusters import accuracy, clusters

from hdx.heads.bd_cspn import BDCSPN, rectified_prototypes


def test_rectified_prototypes_by_hand():
    """Means of support and queries are equal, so nothing moves; the query at 45° is a tie and goes to the first class."""
    support = torch.tensor([[[2.0, 0.0], [0.0, 2.0]]])
    query = torch.tensor([[[1.0, 1.0], [1.0, 1.0]]])
    found = rectified_prototypes(support, torch.tensor([[0, 1]]), query, 2)
    own, other = math.exp(1.0), math.exp(math.sqrt(0.5))
    first = [(2 * own + 2 * other) / (own + 2 * other), 2 * other / (own + 2 * other)]
    torch.testing.assert_close(found, torch.tensor([[first, [0.0, 2.0]]]))


def test_a_shift_of_all_queries_changes_no_prototype():
    s, y, q, _ = clusters(3)
    shift = torch.randn(3, 1, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rectified_prototypes(s, y, q + shift, 5), rectified_prototypes(s, y, q, 5), rtol=1e-4, atol=1e-5)


def test_queries_equal_to_the_support_leave_the_weighted_class_mean():
    s, y, _, _ = clusters(2, signal=3.0)
    found = rectified_prototypes(s, y, s, 5)
    for e in range(2):
        for c in range(5):
            members = s[e, y[e] == c].double()
            weights = torch.cosine_similarity(members, members.mean(0, keepdim=True)).exp()[:, None]
            expected = (weights * members).sum(0) / weights.sum()
            torch.testing.assert_close(found[e, c].double(), expected, rtol=1e-5, atol=1e-5)


def test_normalise_makes_the_length_of_a_sample_irrelevant():
    s, y, q, _ = clusters(2)
    factors = torch.rand(2, 75, 1, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.testing.assert_close(BDCSPN(64).classify(s, y, q * factors, 5), BDCSPN(64).classify(s, y, q, 5), rtol=0, atol=1e-5)
    raw = BDCSPN(64, normalise=False)
    assert (raw.classify(s, y, q * factors, 5) - raw.classify(s, y, q, 5)).abs().max() > 1e-3


def test_better_than_class_means_in_one_shot():
    s, y, q, truth = clusters(60, shots=1, signal=0.8)
    plain = torch.nn.functional.normalize(q, dim=2) @ torch.nn.functional.normalize(s, dim=2).transpose(1, 2)
    assert accuracy(BDCSPN(64).classify(s, y, q, 5), truth) > accuracy(plain, truth) + 0.02
