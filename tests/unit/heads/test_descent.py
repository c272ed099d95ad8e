"""Closed-form gradients of the prototype-tuning heads against autograd, and their Adam against torch's default one."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from hdx.heads._descent import Cosines, Distances, adam, entropy_slope, support_slope


def case(seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(3, 11, 6, generator=g, dtype=torch.float64)
    p = torch.randn(3, 4, 6, generator=g, dtype=torch.float64)
    labels = torch.randint(4, (3, 5), generator=g)
    return x, p, labels


def entropy(p):
    return -(p * p.log()).sum(-1)


def loss(logits, labels, conditional, marginal):
    """logits [E, N, W], the first 5 of them the support; summed over episodes."""
    support, query = logits[:, :5], logits[:, 5:].softmax(2)
    cross_entropy = F.cross_entropy(support.flatten(0, 1), labels.flatten(), reduction="none").view(labels.shape).mean(1)
    return (cross_entropy + conditional * entropy(query).mean(1) - marginal * entropy(query.mean(1))).sum()


@pytest.mark.parametrize("family", ["cosines", "distances"])
@pytest.mark.parametrize(("conditional", "marginal"), [(0.0, 0.0), (1.0, 0.0), (0.1, 1.0)])
def test_gradients_are_autograds(family, conditional, marginal):
    x, p, labels = case()
    origin = torch.randn(3, 4, 6, dtype=torch.float64)
    logits = Cosines(x, 7.0) if family == "cosines" else Distances(x, 7.0, origin)
    log_p = logits.logits(p).log_softmax(1)
    one_hot = F.one_hot(labels, 4).double().transpose(1, 2)
    slope = torch.cat([support_slope(log_p[..., :5].exp(), one_hot), entropy_slope(log_p[..., 5:], conditional, marginal)], 2)
    q = p.clone().requires_grad_()
    expected = 7 * F.cosine_similarity(x[:, :, None], q[:, None], dim=3) if family == "cosines" else -7 * torch.cdist(x, q)
    torch.testing.assert_close(logits.logits(p).transpose(1, 2), expected.detach())
    loss(expected, labels, conditional, marginal).backward()
    torch.testing.assert_close(logits.gradient(slope), q.grad)


def test_a_distance_of_zero_has_no_gradient_and_a_small_one_its_digits():
    torch.manual_seed(0)
    x = F.normalize(torch.rand(1, 3, 640), dim=2)
    distances = Distances(x, 1.0, x.clone())
    assert (distances.logits(x)[0].diagonal() == 0).all()
    assert (distances.gradient(torch.eye(3)[None]) == 0).all()
    moved = x + 1e-5 * torch.randn(1, 3, 640)
    expected = -(x.double() - moved.double()).norm(dim=2)[0]
    torch.testing.assert_close(distances.logits(moved)[0].diagonal().double(), expected[0:3], rtol=1e-4, atol=0)


def test_adam_of_a_batch_is_torchs_adam_of_each():
    _, p, _ = case()
    pull = torch.randn_like(p)
    together = adam(p.clone(), lambda q: (q - pull) ** 3, 30, 0.05)
    for e in range(len(p)):
        alone = p[e].clone().requires_grad_()
        optimiser = torch.optim.Adam([alone], lr=0.05, foreach=False)
        for _ in range(30):
            optimiser.zero_grad()
            (((alone - pull[e]) ** 4).sum() / 4).backward()
            optimiser.step()
        torch.testing.assert_close(together[e], alone.detach(), rtol=0, atol=1e-12)


def test_sure_predictions_give_finite_slopes():
    log_p = torch.tensor([[[0.0, -400.0], [-400.0, 0.0], [-400.0, -400.0]]])
    assert torch.isfinite(entropy_slope(log_p, 1.0, 1.0)).all()
