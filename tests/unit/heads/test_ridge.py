"""Ridge: the normal equations, and its limits."""

from __future__ import annotations

import torch

from hdx.heads.ridge import Ridge


def fitted(ridge: float, x: torch.Tensor, y: torch.Tensor) -> Ridge:
    head = Ridge(x.shape[1], ridge=ridge)
    head.expand(int(y.max()) + 1)
    head.update(x, y)
    return head


def samples(n: int = 60, d: int = 7):
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(3, (n,), generator=generator)
    return torch.randn(n, d, generator=generator, dtype=torch.float64) + y[:, None], y


def test_residuals_satisfy_the_normal_equations():
    x, y = samples()
    logits = fitted(0.3, x, y)(x)
    targets = torch.nn.functional.one_hot(y, 3).double()
    z = x - x.mean(0)
    weight = torch.linalg.lstsq(z, logits - logits.mean(0)).solution  # [D, C] read off the predictions
    torch.testing.assert_close(z.T @ (targets - logits), 60 * 0.3 * weight, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(logits.sum(1), torch.ones(60, dtype=torch.float64), atol=1e-12, rtol=0)


def test_a_large_ridge_leaves_the_class_shares():
    x, y = samples()
    shares = torch.bincount(y).double() / 60
    torch.testing.assert_close(fitted(1e12, x, y)(x), shares.expand(60, 3), atol=1e-10, rtol=0)


def test_without_ridge_few_samples_are_interpolated():
    x, y = samples(n=5)
    torch.testing.assert_close(
        fitted(0.0, x, torch.arange(5) % 3)(x), torch.nn.functional.one_hot(torch.arange(5) % 3).double(), atol=1e-9, rtol=0
    )


def test_two_classes_of_the_same_size_are_split_in_the_middle():
    x = torch.tensor([[-1.0], [-3.0], [1.0], [3.0]])
    head = fitted(0.0, x, torch.tensor([0, 0, 1, 1]))
    # slope of the targets of class 1 on x: cov = 1, variance 5
    torch.testing.assert_close(head(torch.tensor([[0.0], [5.0]]))[:, 1], torch.tensor([0.5, 1.5], dtype=torch.float64))
