"""Linear discriminant analysis with an exactly updated covariance (First Session Adaptation; streaming LDA)."""

from __future__ import annotations

from typing import Annotated, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.errors import ConfigError
from hdx.heads._episode import class_means
from hdx.heads._plain import PlainHead
from hdx.heads._solve import solve_few, solve_symmetric
from hdx.heads._statistics import StatisticsHead
from hdx.ops.class_scores import class_scores
from hdx.options import NonNegativeFloat


class LDA(StatisticsHead):
    """Linear discriminant analysis with one shared covariance, updated exactly.

    logit_c(x) = x^T S^-1 mu_c - 1/2 mu_c^T S^-1 mu_c (+ log prior_c), with x and mu_c taken about the mean of all
    samples. That changes every logit of a sample by the same amount, so neither softmax nor ranking, and keeps all digits
    of features with a common offset. S = covariance + ridge * I, or (1 - shrinkage) * covariance + shrinkage * I:

    - `total`: scatter about the mean of all samples / (n - 1), as First Session Adaptation does (with ridge 1).
    - `within`: scatter about the class means / n, as streaming LDA and scikit-learn do.

    Solved by a float64 Cholesky factor; where S is singular (ridge 0, fewer samples than features) by its
    pseudo-inverse, with one log line.

    Source: Panos et al. 2023, "First Session Adaptation"; Hayes and Kanan 2020, "Deep Streaming LDA".
    Keeps: one mean a class and one covariance: C x D + D^2 numbers.
    Certainty: read in the authors' code (FSA) and in a re-implementation (streaming LDA).

    Args:
        n_features: D.
        covariance: scatter about the overall mean (total) or about the class means (within).
        ridge: multiple of the identity added to the covariance; in squared feature units, so do not normalise features.
        shrinkage: share of the identity in place of the covariance, as streaming LDA has it; where it is given, ridge is 0.
        prior: uniform over the seen classes, or empirical (log of the class's share of the samples is added).
    """

    def __init__(
        self,
        n_features: int,
        *,
        covariance: Literal["total", "within"] = "total",
        ridge: NonNegativeFloat = 1.0,
        shrinkage: Annotated[float, "[0, 1)"] = 0.0,
        prior: Literal["uniform", "empirical"] = "uniform",
    ) -> None:
        if shrinkage and ridge:
            raise ConfigError(
                f"head.shrinkage={shrinkage:g} and head.ridge={ridge:g} both regularise the covariance: set one of them to 0"
            )
        super().__init__(n_features, gram=True, floor=ridge + shrinkage / (1 - shrinkage))
        self.covariance = covariance
        self.ridge = ridge
        self.shrinkage = shrinkage
        self.prior = prior

    def regularised_covariance(self) -> Tensor:
        """S [D, D] float64 of the samples so far; only the multiple of the identity while there are none."""
        total = self.moments.total()
        assert total.gram is not None
        n, counts = max(total.n, 1), total.counts.clamp(min=1).double()
        if self.covariance == "total":
            s = total.sums.sum(0)
            scatter, dof = total.gram - torch.outer(s, s) / n, max(n - 1, 1)
        else:
            scatter, dof = total.gram - (total.sums / counts[:, None]).T @ total.sums, n
        scatter *= (1 - self.shrinkage) / dof
        scatter.diagonal().add_(self.ridge + self.shrinkage)
        return scatter

    def solve(self) -> tuple[Tensor, Tensor, Tensor]:
        """Centre [D], weight [C, D], bias [C]; the bias of a class without samples is -inf."""
        total = self.moments.total()
        counts = total.counts.double()
        n = counts.sum().clamp(min=1)
        centre = total.sums.sum(0) / n  # about the pivot
        seen = counts > 0
        means = torch.where(seen[:, None], total.sums / counts.clamp(min=1)[:, None] - centre, 0.0)  # [C, D]
        weight = solve_symmetric(self.regularised_covariance(), means.T).T
        bias = -0.5 * (means * weight).sum(1)
        if self.prior == "empirical":
            bias = bias + torch.log(counts / n)
        return total.pivot + centre, weight, torch.where(seen, bias, -torch.inf)

    def plain_form(self) -> PlainHead:
        """Exact."""
        centre, weight, bias = self.solve()
        return PlainHead("linear", weight, bias - weight @ centre)

    def score(self, features: Tensor, solution: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Logits [B, C]."""
        centre, weight, bias = solution
        return class_scores(features, centre, weight).add_(bias)

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways] float64 of episodes, by systems of the size of the support; see `Head.classify`."""
        if self.ridge == 0:  # singular, so the pseudo-inverse of each episode's own rank
            return super().classify(support, labels, query, ways)
        n = support.shape[1]
        centre = support.mean(1, keepdim=True, dtype=torch.float64)  # [E, 1, D]
        samples = support.double() - centre
        one_hot = F.one_hot(labels, ways).double()  # [E, S, W]
        means = class_means(samples, labels, ways)  # [E, W, D]
        total = self.covariance == "total"
        scatter, dof = (samples, max(n - 1, 1)) if total else (samples - one_hot @ means, n)
        weight = dof * solve_few(scatter, dof * self.ridge, means)
        bias = -(0.5 * means + centre).mul(weight).sum(2)[:, None]  # [E, 1, W]
        if self.prior == "empirical":
            bias = bias + torch.log(one_hot.mean(1, keepdim=True))
        return torch.baddbmm(bias, query.double(), weight.transpose(1, 2))

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: float64 copies of all samples, and three more of the support."""
        samples = 7 * n_support + 3 * n_query + 10 * ways
        return samples * self.n_features + 6 * n_support * (n_support + ways) + 4 * n_query * ways
