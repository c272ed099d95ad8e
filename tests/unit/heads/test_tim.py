"""TIM: the loss that is lowered, by a float64 loop with autograd, and what its weights do."""

from __future__ import annotations

import torch
from tests.clusters import clusters
from torch.nn import functional as F

from hdx.heads.tim import TIM


def by_loop(s, y, q, steps, lr, tau, weights):
    """One episode in float64; logits [Q, W]."""
    s, q = F.normalize(s.double(), dim=1), F.normalize(q.double(), dim=1)
    p = torch.stack([s[y == c].mean(0) for c in range(int(y.max()) + 1)]).requires_grad_()
    optimiser = torch.optim.Adam([p], lr=lr)
    for _ in range(steps):
        z_s, z_q = (tau * F.cosine_similarity(x[:, None], p[None], dim=2) for x in (s, q))
        probabilities = z_q.softmax(1)
        conditional = -(probabilities * z_q.log_softmax(1)).sum(1).mean()
        marginal = torch.special.entr(probabilities.mean(0)).sum()
        loss = weights[0] * F.cross_entropy(z_s, y) - (weights[1] * marginal - weights[2] * conditional)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return tau * F.cosine_similarity(q[:, None], p.detach()[None], dim=2)


def test_logits_are_the_loops():
    s, y, q, _ = clusters(3, shots=2, n_features=24)
    for weights in ((1.0, 1.0, 0.1), (0.5, 2.0, 0.7), (1.0, 0.0, 1.0)):
        names = ("cross_entropy_weight", "marginal_entropy_weight", "conditional_entropy_weight")
        head = TIM(24, steps=20, lr=2e-3, temperature=8.0, **dict(zip(names, weights)))
        found = head.classify(s, y, q, 5)
        for e in range(3):
            expected = by_loop(s[e], y[e], q[e], 20, 2e-3, 8.0, weights)
            torch.testing.assert_close(found[e].double(), expected, rtol=0, atol=1e-4)


def test_mutual_information_grows():
    s, y, q, _ = clusters(4)
    information = []
    for steps in (0, 20, 100):
        p = TIM(64, steps=steps, lr=1e-3, conditional_entropy_weight=1.0).classify(s, y, q, 5).softmax(2)
        information.append(torch.special.entr(p.mean(1)).sum(1) - torch.special.entr(p).sum(2).mean(1))
    assert (information[0] < information[1]).all() and (information[1] < information[2]).all()


def test_without_steps_it_is_cosines_to_class_means():
    s, y, q, _ = clusters(2)
    for normalise in (True, False):
        x = F.normalize(s, dim=2) if normalise else s
        means = x.view(2, 5, 5, 64).mean(2)
        expected = 10 * F.cosine_similarity(q[:, :, None], means[:, None], dim=3)
        torch.testing.assert_close(TIM(64, steps=0, normalise=normalise).classify(s, y, q, 5), expected)


def test_memory_bound_grows_with_the_episode():
    head = TIM(640)
    assert 100 * 640 * 3 < head.episode_floats(25, 75, 5) < head.episode_floats(25, 150, 5)
