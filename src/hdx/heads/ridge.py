"""Ridge regression of one-hot labels: a least-squares classifier solved in closed form."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._solve import solve_few, solve_symmetric
from hdx.heads._statistics import StatisticsHead
from hdx.ops.class_scores import class_scores
from hdx.options import NonNegativeFloat


class Ridge(StatisticsHead):
    """Ridge regression of one-hot labels on features, updated exactly.

    logit_c(x) = n_c/n + (x - m)^T (C + ridge * I)^-1 Cov(x, y_c), with C the covariance (scatter about the mean m of all
    samples / n) and Cov(x, y_c) = n_c/n (mu_c - m): the intercept is not penalised, and a class's logits grow with its share
    of the samples. scikit-learn's `Ridge` and `RidgeClassifier` are the same with alpha = n * ridge. Solved as head=lda.

    Source: Hoerl and Kennard 1970, "Ridge Regression"; per episode after Bertinetto et al. 2019, "Meta-learning with
        differentiable closed-form solvers" (R2-D2), whose learnt scale, offset and missing intercept are not here.
    Keeps: one mean a class and one covariance: C x D + D^2 numbers.
    Certainty: by definition.

    Args:
        n_features: D.
        ridge: multiple of the identity added to the covariance; in squared feature units, as that of head=lda.
    """

    def __init__(self, n_features: int, *, ridge: NonNegativeFloat = 1.0) -> None:
        super().__init__(n_features, gram=True)
        self.ridge = ridge

    def solve(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centre [D], weight [C, D], intercept [C]; that of a class without samples is -inf."""
        total = self.moments.total()
        assert total.gram is not None
        n, counts = max(total.n, 1), total.counts.double()
        sums = total.sums.sum(0)
        covariance = (total.gram - torch.outer(sums, sums) / n) / n + self.ridge * torch.eye(self.n_features).to(total.gram)
        centre = sums / n  # about the pivot
        joint = (total.sums - counts[:, None] * centre) / n  # [C, D] covariances of features and labels
        weight = solve_symmetric(covariance, joint.T).T
        return total.pivot + centre, weight, torch.where(counts > 0, counts / n, -torch.inf)

    def score(self, features: Tensor, solution: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Logits [B, C]."""
        centre, weight, intercept = solution
        return class_scores(features, centre, weight).add_(intercept)

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways] float64 of episodes, by systems of the size of the support; see `Head.classify`."""
        if self.ridge == 0:  # singular, so the pseudo-inverse of each episode's own rank
            return super().classify(support, labels, query, ways)
        n = support.shape[1]
        centre = support.mean(1, keepdim=True, dtype=torch.float64)  # [E, 1, D]
        samples = support.double() - centre
        one_hot = F.one_hot(labels, ways).double()  # [E, S, W]
        weight = solve_few(samples, n * self.ridge, one_hot.transpose(1, 2) @ samples)  # [E, W, D]
        intercept = one_hot.mean(1, keepdim=True) - centre @ weight.transpose(1, 2)  # [E, 1, W]
        return torch.baddbmm(intercept, query.double(), weight.transpose(1, 2))

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: float64 copies of all samples, and one more of the support."""
        samples = 5 * n_support + 3 * n_query + 8 * ways
        return samples * self.n_features + 6 * n_support * (n_support + ways) + 4 * n_query * ways
