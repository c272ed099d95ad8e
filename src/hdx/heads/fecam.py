"""FeCAM: Mahalanobis distances to class means, with a shrunk correlation matrix for each class."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._mahalanobis import FEW, Columns, Dense, Form
from hdx.heads._moments import Moments
from hdx.heads._statistics import StatisticsHead
from hdx.options import NonNegativeFloat


class FeCAM(StatisticsHead):
    """Mahalanobis distance with a covariance for each class, its features made more Gaussian by Tukey's transformation.

    logit_c(x) = -(u - v_c)^T R_c^-1 (u - v_c), with u the L2-normalised t(x), v_c the L2-normalised t(mean of class c) and
    t(x) = sign(x) |x|^tukey: on features that are not negative, as those after a ReLU, the paper's x^tukey, which others have
    no value for. R_c is the covariance S of t(x) over the class's samples, / (n - 1), shrunk to
    S + alpha1 * mean(diagonal) * I + alpha2 * mean(off-diagonal) * (1 - I), as a correlation matrix. A class of one sample
    has R_c = I; a singular R_c (alpha1 = 0) is solved by its pseudo-inverse.

    Exact under any split into sessions, orders and ranks, also with `shared`: there S is the scatter about the class means of
    all samples / (n - C), where the authors average the sessions' covariances about the sessions' means. The authors' code
    for CNNs shrinks twice, which is alpha1 = alpha2 = 3 here; that for ViTs has alpha2 = 0 and tukey = 1. In its first
    session it takes Euclidean distances, this head does not.

    A class of n <= D / 4 samples is solved and scored through the n columns that its covariance has (`hdx.heads._mahalanobis`),
    to the same logits: D n products a sample and not D^2.

    Memory: 8 C D^2 bytes of state and up to three times as much while it solves, one of which stays where classes have many
    samples (for 100 classes of 512 features: 0.2 GB, 0.8 GB at the peak; for 1,000 of 1,024: 8 GB, 34 GB). `shared` bounds it
    to a few D^2, whatever C.

    Source: Goswami et al. 2023, "FeCAM: Exploiting the Heterogeneity of Class Distributions in Exemplar-Free Continual
        Learning".
    Keeps: a mean and a covariance for each class: C x D^2 numbers.
    Certainty: read in the authors' code.

    Args:
        n_features: D.
        tukey: exponent of the transformation; 1 leaves features as they are.
        alpha1: shrinkage of the diagonal, in units of its mean.
        alpha2: shrinkage of the rest, in units of its mean; at most alpha1, or R may have negative eigenvalues.
        shared: one covariance for all classes.
    """

    def __init__(
        self,
        n_features: int,
        *,
        tukey: Annotated[float, "(0, 1]"] = 0.5,
        alpha1: NonNegativeFloat = 1.0,
        alpha2: NonNegativeFloat = 1.0,
        shared: bool = False,
    ) -> None:
        super().__init__(n_features, gram=True, per_class=not shared)
        # the class means before the transformation, which would blow up what rounding makes of a mean of 0
        self.plain = Moments(n_features, gram=False, centred=False)
        self.tukey = tukey
        self.alpha1 = alpha1
        self.alpha2 = alpha2
        self.shared = shared

    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes."""
        super().expand(n_new)
        self.plain.expand(n_new)

    def prepare(self, features: Tensor) -> Tensor:
        """Tukey's transformation in float64, odd in x."""
        x = features.double()
        return x if self.tukey == 1 else x.sign() * x.abs().pow(self.tukey)

    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in samples: features [N, D], labels [N] int64 in [0, n_classes)."""
        self.plain.update(features, labels)
        super().update(features, labels)

    def merge_ranks(self) -> None:
        """Sum what each rank took in since the last merge."""
        self.plain.merge_ranks()
        super().merge_ranks()

    def merge(self, other: StatisticsHead) -> None:
        """Add the samples that another head over the same classes took in."""
        assert isinstance(other, FeCAM)
        self.plain.merge(other.plain)
        super().merge(other)

    def fresh(self) -> StatisticsHead:
        """A head with the same options and no samples."""
        fresh = super().fresh()
        fresh.plain = self.plain.fresh()
        return fresh

    def covariances(self, own: Tensor | None = None) -> Tensor:
        """S [C, D, D] float64, or of some classes `own` [c], or [1, D, D] with `shared`."""
        total = self.moments.total()
        assert total.gram is not None
        if self.shared:
            means = total.sums / total.counts.clamp(min=1)[:, None]  # [C, D]
            freedom = int(total.counts.sum()) - int((total.counts > 0).sum())
            return (total.gram - means.T @ total.sums)[None].div_(max(freedom, 1))
        own = torch.arange(self.n_classes, device=total.counts.device) if own is None else own
        sums, counts = total.sums[own], total.counts[own].double()[:, None]
        means = sums / counts.clamp(min=1)
        scatter = torch.baddbmm(total.gram[own], means[:, :, None], sums[:, None], alpha=-1)
        return scatter.div_((counts - 1).clamp(min=1)[..., None])

    def correlations(self, own: Tensor | None = None) -> Tensor:
        """R [C, D, D] float64, or of some classes `own` [c], or [1, D, D] with `shared`."""
        return self._shrunk(self.covariances(own))

    def _levels(self, covariances: Tensor) -> tuple[Tensor, Tensor]:
        """What is added to the diagonals [c], and to all entries [c]."""
        d = self.n_features
        trace = covariances.diagonal(dim1=1, dim2=2).sum(1)
        shift = self.alpha2 * (covariances.sum((1, 2)) - trace) / max(d * (d - 1), 1)
        return self.alpha1 * trace / d - shift, shift

    def _shrunk(self, covariances: Tensor) -> Tensor:
        """Shrunk to their mean entries and normalised, in place; the identity where there is no variance at all."""
        level, shift = self._levels(covariances)
        covariances += shift[:, None, None]
        diagonal = covariances.diagonal(dim1=1, dim2=2)
        diagonal += level[:, None]
        noise = 1e-14 * diagonal.amax(1, keepdim=True)  # of features without variance
        scale = torch.where(diagonal > noise, diagonal.rsqrt(), 0.0)
        covariances *= scale[:, :, None] * scale[:, None]
        covariances.diagonal(dim1=1, dim2=2).fill_(1.0)
        return covariances

    def solve(self) -> tuple[Tensor, list[tuple[Tensor, Form]], Tensor]:
        """Class means [C, D]; classes with the inverses of their R; penalty [C]: 0, or -inf for a class without samples."""
        plain = self.plain.total()
        means = plain.sums / plain.counts.clamp(min=1)[:, None] + plain.pivot
        penalty = torch.where(plain.counts > 0, 0.0, -torch.inf).to(means)
        return F.normalize(self.prepare(means), dim=1), self._inverses(plain.counts), penalty

    def _inverses(self, counts: Tensor) -> list[tuple[Tensor, Form]]:
        every = torch.arange(self.n_classes, device=counts.device)
        if self.shared:
            return [(every, Dense.of(self.correlations()))]
        found: list[tuple[Tensor, Form]] = []
        few = (counts > 1) & (counts <= self.n_features // FEW)
        if few.any():
            covariances = self.covariances(every[few])
            level, shift = self._levels(covariances)
            least = level + self.n_features * shift.clamp(max=0)  # no eigenvalue is smaller
            sound = least > 1e-6 * covariances.diagonal(dim1=1, dim2=2).amax(1)
            few[every[few][~sound]] = False
            if sound.any():
                ranks = counts[few] - 1
                found.append((every[few], Columns.of(covariances[sound], ranks, level[sound], shift[sound])))
        if not few.all():
            found.append((every[~few], Dense.of(self.correlations(every[~few]))))
        return found

    def score(self, features: Tensor, solution: tuple[Tensor, list[tuple[Tensor, Form]], Tensor]) -> Tensor:
        """Logits [B, C]: negative squared Mahalanobis distances."""
        means, inverses, penalty = solution
        unit = F.normalize(features, dim=1)
        distances = unit.new_zeros(len(unit), len(means))
        for own, form in inverses:
            distances[:, own] = form.distances(unit, means[own])
        return penalty - distances.clamp_(min=0)
