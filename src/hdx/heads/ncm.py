"""Nearest class mean: also called NMC or a prototype head."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import class_means, cosines, squared_distances
from hdx.heads._plain import PlainHead
from hdx.heads._statistics import StatisticsHead
from hdx.ops.class_scores import class_scores


class NCM(StatisticsHead):
    """Nearest class mean: the class whose mean feature is closest.

    `euclidean`: logit = -||x - mu_c||^2 (Snell et al. 2017, eq. 2). `cosine`: samples are L2-normalised before they are
    averaged, the mean is normalised again, and the logit is the cosine in [-1, 1]. State: C x D, no covariance.

    Source: Mensink et al. 2013, "Distance-Based Image Classification"; Snell et al. 2017, "Prototypical Networks".
    Keeps: one mean a class: C x D numbers.
    Certainty: by definition.

    Args:
        n_features: D.
        metric: distance to the class means, euclidean (squared) or cosine.
    """

    joint: ClassVar[bool] = True

    def __init__(self, n_features: int, *, metric: Literal["euclidean", "cosine"] = "euclidean") -> None:
        super().__init__(n_features, gram=False)
        self.metric = metric

    def prepare(self, features: Tensor) -> Tensor:
        """Features, L2-normalised in float64 for the cosine; a zero vector stays zero."""
        return F.normalize(features.double(), dim=1) if self.metric == "cosine" else features

    def solve(self) -> tuple[Tensor, Tensor, Tensor]:
        """Origin [D], weight [C, D], bias [C]: -inf for a class without samples.

        With m the class means about the origin, the weight is 2 m and the bias -||m||^2, so that the logit -||x - m||^2 is
        their score less ||x||^2; for the cosine the means of norm 1 about 0, and 0.
        """
        total = self.moments.total()
        counts = total.counts.double()
        means = total.sums / counts.clamp(min=1)[:, None]  # [C, D] about the pivot
        if self.metric == "cosine":
            bias = torch.where(counts > 0, 0.0, -torch.inf).to(means)
            return torch.zeros_like(total.pivot), F.normalize(means + total.pivot, dim=1), bias
        centre = total.sums.sum(0) / counts.sum().clamp(min=1)  # the mean of all samples does not depend on the pivot
        means = means - centre
        return total.pivot + centre, 2 * means, torch.where(counts > 0, -means.square().sum(1), -torch.inf)

    def plain_form(self) -> PlainHead:
        """Cosines, or -||x - mu||^2 = 2 x.mu - ||mu||^2 - ||x||^2 without its last term."""
        origin, weight, bias = self.solve()
        if self.metric == "cosine":
            return PlainHead("cosine", weight, bias)
        return PlainHead("linear", weight, bias - weight @ origin)

    def score(self, features: Tensor, solution: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Logits [B, C]: negative squared distances, or cosines."""
        origin, weight, bias = solution
        scores = class_scores(features, origin, weight).add_(bias)  # [B, C]
        if self.metric == "cosine":
            return scores
        own = torch.linalg.vector_norm(features - origin, dim=1, keepdim=True).square_()  # [B, 1]
        return scores.sub_(own).clamp_(max=0)

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways] float32 of episodes, comparable with those of `forward`; see `Head.classify`."""
        if self.metric == "cosine":
            return cosines(query, class_means(F.normalize(support, dim=2), labels, ways))
        return -squared_distances(query, class_means(support, labels, ways))

    def for_nearest_means(self, features: Tensor) -> tuple[Tensor, bool]:
        """See `Head.for_nearest_means`."""
        cosine = self.metric == "cosine"
        return F.normalize(features, dim=1) if cosine else features, cosine
