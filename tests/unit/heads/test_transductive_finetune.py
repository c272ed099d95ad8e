"""Transductive fine-tuning, by a float64 loop with autograd."""

from __future__ import annotations

import pytest
import torch
from tests.clusters import clusters
from torch.nn import functional as F

from hdx.heads.transductive_finetune import TransductiveFinetune


@pytest.mark.parametrize("normalise", [True, False])
@pytest.mark.parametrize("shots", [1, 3])
def test_logits_are_the_loops(normalise, shots):
    s, y, q, _ = clusters(2, shots=shots, n_features=24)
    found = TransductiveFinetune(24, steps=30, lr=2e-3, temperature=5.0, normalise=normalise).classify(s, y, q, 5)
    for e in range(2):
        a, b = ((F.normalize(x[e].double(), dim=1) if normalise else x[e].double()) for x in (s, q))
        p = torch.stack([a[y[e] == c].mean(0) for c in range(5)]).requires_grad_()
        optimiser = torch.optim.Adam([p], lr=2e-3)
        for _ in range(30):
            z = -5 * torch.cdist(b, p, compute_mode="donot_use_mm_for_euclid_dist")
            entropy = torch.special.entr(z.softmax(1)).sum(1).mean()
            support = -5 * torch.cdist(a, p, compute_mode="donot_use_mm_for_euclid_dist")  # its gradient at 0 is 0
            optimiser.zero_grad()
            (F.cross_entropy(support, y[e]) + entropy).backward()
            optimiser.step()
        expected = -5 * torch.cdist(b, p.detach())
        torch.testing.assert_close(found[e].double(), expected, rtol=1e-4, atol=1e-4)


def test_queries_get_surer():
    s, y, q, _ = clusters(4)
    surprise = []
    for steps in (0, 25):
        p = TransductiveFinetune(64, steps=steps, lr=1e-3, temperature=10.0).classify(s, y, q, 5).softmax(2)
        surprise.append(torch.special.entr(p).sum(2).mean(1))
    assert (surprise[1] < surprise[0]).all()


def test_without_steps_it_is_distances_to_class_means():
    s, y, q, _ = clusters(2)
    means = s.view(2, 5, 5, 64).mean(2)
    found = TransductiveFinetune(64, steps=0, temperature=2.0, normalise=False).classify(s, y, q, 5)
    torch.testing.assert_close(found, -2 * (q[:, :, None] - means[:, None]).norm(dim=3))
