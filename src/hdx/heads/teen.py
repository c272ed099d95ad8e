"""TEEN: prototypes of new classes are pulled towards the base classes they resemble."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import class_means
from hdx.heads._plain import PlainHead
from hdx.heads._statistics import StatisticsHead
from hdx.options import Fraction, PositiveFloat


class Teen(StatisticsHead):
    """Nearest class mean by cosine, with prototypes of new classes calibrated by those of the base classes; nothing is trained.

    Base classes are those of the first `expand`, the first session. Samples and prototypes are L2-normalised as in `ncm` with
    metric=cosine, which alpha=0 equals. With base prototypes p_b and p_n that of a new class,

        w_b = softmax_b(tau <p_n, p_b>),   p_n <- (1 - alpha) p_n + alpha normalise(sum_b w_b p_b),

    and the logit of a class is tau times the cosine to its prototype. Base prototypes stay as they are, and new classes do not
    depend on one another, so the order in which they arrive changes nothing. The authors average features before they normalise
    them; here each sample counts alike, so that the difference to `ncm_cosine` is the calibration and nothing else. They keep
    the temperature of the logits apart; it changes no prediction.

    Source: Wang et al. 2023, "Few-Shot Class-Incremental Learning via Training-Free Prototype Calibration"; the normalised sum
    is read in the authors' code.

    Args:
        n_features: D.
        tau: inverse temperature, of the softmax over base classes and of the logits.
        alpha: share of the base classes in a new prototype; the authors' scripts take 0.1 for CIFAR-100 and 0.5 for CUB-200.
    """

    order_free: ClassVar[bool] = False  # the base classes are those of the first session
    n_base: Tensor

    def __init__(self, n_features: int, *, tau: PositiveFloat = 16.0, alpha: Fraction = 0.5) -> None:
        super().__init__(n_features, gram=False)
        self.tau, self.alpha = tau, alpha
        self.register_buffer("n_base", torch.zeros((), dtype=torch.int64))

    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes; the first ones are the base classes."""
        if self.n_classes == 0:
            self.n_base.fill_(n_new)
        super().expand(n_new)

    def fresh(self) -> StatisticsHead:
        """A head with the same options, no samples and no base classes."""
        fresh = super().fresh()
        fresh.n_base = torch.zeros_like(self.n_base)
        return fresh

    def prepare(self, features: Tensor) -> Tensor:
        """Features, L2-normalised in float64; a zero vector stays zero."""
        return F.normalize(features.double(), dim=1)

    def solve(self) -> tuple[Tensor, Tensor]:
        """Directions [C, D] of norm 1 and penalty [C]: 0, or -inf for a class without samples."""
        total = self.moments.total()
        counts = total.counts.double()
        means = total.sums / counts.clamp(min=1)[:, None] + total.pivot  # [C, D]
        prototypes = F.normalize(means, dim=1)
        n_base, present = int(self.n_base), counts > 0
        base, new = prototypes[:n_base][present[:n_base]], prototypes[n_base:]
        if len(base) and len(new):
            prototypes = torch.cat([prototypes[:n_base], self._calibrated(new, base)])
        return F.normalize(prototypes, dim=1), torch.where(present, 0.0, -torch.inf).to(means)

    def _calibrated(self, new: Tensor, base: Tensor) -> Tensor:
        """Prototypes [N, D] of new classes moved towards the base classes' [B, D]."""
        weights = torch.softmax(self.tau * new @ base.T, dim=1)  # [N, B]
        return (1 - self.alpha) * new + self.alpha * F.normalize(weights @ base, dim=1)

    def plain_form(self) -> PlainHead:
        """Cosines."""
        directions, penalty = self.solve()
        return PlainHead("cosine", directions, penalty, self.tau)

    def score(self, features: Tensor, solution: tuple[Tensor, Tensor]) -> Tensor:
        """Logits [B, C]: tau times the cosines."""
        directions, penalty = solution
        return self.tau * features @ directions.T + penalty

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; an episode has no base classes, so its prototypes are not calibrated."""
        prototypes = F.normalize(class_means(F.normalize(support, dim=2), labels, ways), dim=2)  # [E, W, D]
        return self.tau * F.normalize(query, dim=2) @ prototypes.transpose(1, 2)
