"""Prototypes tuned on the support, by a float64 loop with autograd."""

from __future__ import annotations

import pytest
import torch
from tests.clusters import clusters
from torch.nn import functional as F

from hdx.heads.tuned_prototypes import TunedPrototypes


@pytest.mark.parametrize("normalise", [True, False])
def test_logits_are_the_loops(normalise):
    s, y, q, _ = clusters(2, shots=3, n_features=24)
    found = TunedPrototypes(24, steps=40, lr=5e-3, temperature=6.0, normalise=normalise).classify(s, y, q, 5)
    for e in range(2):
        x = s[e].double()
        x = F.normalize(x, dim=1) if normalise else x
        p = torch.stack([x[y[e] == c].mean(0) for c in range(5)]).requires_grad_()
        optimiser = torch.optim.Adam([p], lr=5e-3)
        for _ in range(40):
            optimiser.zero_grad()
            F.cross_entropy(6 * F.cosine_similarity(x[:, None], p[None], dim=2), y[e]).backward()
            optimiser.step()
        expected = 6 * F.cosine_similarity(q[e].double()[:, None], p.detach()[None], dim=2)
        torch.testing.assert_close(found[e].double(), expected, rtol=0, atol=1e-4)


def test_queries_are_judged_one_by_one():
    s, y, q, _ = clusters(2)
    head = TunedPrototypes(64, steps=5, lr=1e-2)
    torch.testing.assert_close(head.classify(s, y, q[:, 7:8], 5), head.classify(s, y, q, 5)[:, 7:8])


def test_the_support_is_learnt():
    s, y, _, _ = clusters(4, signal=0.4)
    fit = [TunedPrototypes(64, steps=n, lr=1e-2).classify(s, y, s, 5) for n in (0, 100)]
    losses = [F.cross_entropy(logits.flatten(0, 1), y.flatten()) for logits in fit]
    assert losses[1] < 0.8 * losses[0]
