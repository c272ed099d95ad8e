"""PT-MAP: a power transform, then prototypes and an optimal-transport plan of the queries in turns."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import EpisodeHead
from hdx.options import Fraction, NonNegativeInt, PositiveFloat

PLAIN_STEPS = 8  # of Sinkhorn before Newton is tried: most plans need no more


class PTMAP(EpisodeHead):
    """Power transform and maximum a posteriori: queries are assigned to prototypes by a balanced transport plan.

    Features become (relu(f) + epsilon)^power, L2-normalised. Then, `steps` times: the plan P that gives every query one unit
    and every class Q / W of them, from the cost ||q - p_c||^2 with inverse temperature `lam`; the mean of each class
    under support labels and plan; p_c moves towards it by `alpha`. Logits are log P of one more plan.
    The plan assumes equally many queries of each class, and nothing here relaxes that: where queries are unbalanced it
    costs accuracy, so report both.

    The plan is computed in the log domain and float64. Public code (easyfsl) exponentiates costs in float32 without
    normalising after the power transform: on L2-normalised 640-d features in 1-shot all of exp(-10 cost) underflows and it
    answers by chance. Each plan starts from the last one's potentials, Newton's steps help Sinkhorn's, and each episode stops
    when all classes have their share within `sinkhorn_tol`, in place of a change of the row sums. The means of
    support and queries are subtracted as in the authors' code (the paper's text does not say so, and easyfsl does not): without
    it the plan of features that lie in one orthant is too smooth at `lam` 10, and accuracy can fall below that of prototypes.

    Source: Hu et al. 2021, "Leveraging the Feature Distribution in Transfer-Based Few-Shot Learning" (PT-MAP).

    Args:
        n_features: D.
        power: exponent of the power transform.
        epsilon: added before the power.
        steps: moves of the prototypes; the authors' code takes 20, easyfsl's benchmark 30 (preset `pt_map_benchmark`).
        alpha: fraction of the way that a prototype moves.
        lam: inverse temperature of the transport plan.
        sinkhorn_steps: iterations of a plan at most.
        sinkhorn_tol: relative error of a class's share at which an episode's plan is done.
        normalise: L2-normalise features before the power transform.
        renormalise: L2-normalise features after the power transform, as the paper does.
        centre: subtract the mean of the support from it and that of the queries from them, and normalise once more.
    """

    def __init__(
        self,
        n_features: int,
        *,
        power: PositiveFloat = 0.5,
        epsilon: PositiveFloat = 1e-6,
        steps: NonNegativeInt = 20,
        alpha: Fraction = 0.2,
        lam: PositiveFloat = 10.0,
        sinkhorn_steps: NonNegativeInt = 1000,
        sinkhorn_tol: PositiveFloat = 1e-6,
        normalise: bool = True,
        renormalise: bool = True,
        centre: bool = True,
    ) -> None:
        super().__init__(n_features)
        self.power, self.epsilon, self.steps, self.alpha, self.lam = power, epsilon, steps, alpha, lam
        self.sinkhorn_steps, self.sinkhorn_tol = sinkhorn_steps, sinkhorn_tol
        self.normalise, self.renormalise, self.centre = normalise, renormalise, centre

    def transform(self, features: Tensor) -> Tensor:
        """Power transform of support or queries [E, N, D]."""
        x = F.normalize(features, dim=2) if self.normalise else features
        x = x.relu().add_(self.epsilon)
        x = x.sqrt_() if self.power == 0.5 else x.pow_(self.power)
        if self.renormalise:
            x = F.normalize(x, dim=2)
        if self.centre:
            x = F.normalize(x - x.mean(1, keepdim=True), dim=2)
        return x

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""
        n_episodes, n_query, _ = query.shape
        samples = torch.cat([self.transform(support), self.transform(query)], 1)  # [E, N, D]
        products = samples @ samples.transpose(1, 2)  # [E, N, N]
        one_hot = F.one_hot(labels, ways).to(samples.dtype).transpose(1, 2)  # [E, W, S]
        # prototypes are weighted means of the samples, so weights and products say all about them
        weights = torch.cat([_shares(one_hot), one_hot.new_zeros(n_episodes, ways, n_query)], 2)  # [E, W, N]
        potentials = one_hot.new_zeros(n_episodes, ways, 1, dtype=torch.float64)
        for _ in range(self.steps):
            plan, potentials = self.transport(products, weights, potentials, n_query)
            means = _shares(torch.cat([one_hot, plan.exp().to(one_hot.dtype)], 2))
            weights = weights.lerp(means, self.alpha)
        plan, _ = self.transport(products, weights, potentials, n_query)
        return plan.transpose(1, 2).to(query.dtype)

    def transport(self, products: Tensor, weights: Tensor, potentials: Tensor, n_query: int) -> tuple[Tensor, Tensor]:
        """Log plan [E, W, Q] and potentials [E, W, 1] float64, from products [E, N, N] and weights [E, W, N] of samples."""
        crossed = weights @ products  # [E, W, N] prototypes times samples
        lengths = (crossed * weights).sum(2, keepdim=True)  # [E, W, 1] of the prototypes; a query's own changes no plan
        scores = self.lam * (2 * crossed[..., -n_query:] - lengths).double()
        potentials = sinkhorn(scores, potentials, self.sinkhorn_steps, self.sinkhorn_tol)
        return (scores + potentials).log_softmax(1), potentials

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: samples and two transforms of them, their products; twelve tables of weights."""
        n_samples = n_support + n_query
        return 4 * n_samples * self.n_features + n_samples * n_samples + 16 * n_samples * ways


def sinkhorn(scores: Tensor, potentials: Tensor, steps: int, tol: float) -> Tensor:
    """Potentials that make the columns of softmax_c(scores + potentials) hold equal shares.

    A step of Sinkhorn and Knopp (1967) gives every query one unit (the softmax, which subtracts the row's maximum: no
    underflow) and scales each class to its share of Q / W. Where classes are well apart it needs thousands of steps, so after
    a few of them Newton's step on the same concave dual is tried too, and taken where it climbs higher.
    The solution is the same and unique. Episodes that are done are frozen.

    Args:
        scores: [E, W, Q] float64, -lam * cost up to a constant a query.
        potentials: [E, W, 1] where to start.
        steps: iterations at most.
        tol: relative error of a share at which an episode is done.
    Returns: [E, W, 1] logarithms of the scaling of each class.
    """
    share = scores.shape[2] / scores.shape[1]
    going = torch.ones_like(potentials[:, :1], dtype=torch.bool)  # [E, 1, 1]
    for step in range(steps):
        plan = (scores + potentials).softmax(1)  # [E, W, Q]
        sizes = plan.sum(2, keepdim=True)  # [E, W, 1]
        going = going & ((sizes / share - 1).abs().amax(1, keepdim=True) > tol)
        if not going.any():
            break
        scaled = potentials + math.log(share) - sizes.clamp(min=torch.finfo(sizes.dtype).tiny).log()
        if step >= PLAIN_STEPS:
            leap = potentials + _newton(plan, sizes, share)
            scaled = torch.where(_dual(scores, leap, share) >= _dual(scores, scaled, share), leap, scaled)
        potentials = torch.where(going, scaled, potentials)
    return potentials


def _newton(plan: Tensor, sizes: Tensor, share: float) -> Tensor:
    """Newton's step [E, W, 1] on the dual; the direction of all ones, along which it is flat, is filled in."""
    curvature = torch.diag_embed(sizes[..., 0]) - plan @ plan.transpose(1, 2)  # [E, W, W]
    curvature += share / len(curvature[0])
    curvature.diagonal(dim1=1, dim2=2).add_(1e-10 * share)  # invertible even where every query is sure
    return torch.linalg.solve_ex(curvature, share - sizes)[0]


def _dual(scores: Tensor, potentials: Tensor, share: float) -> Tensor:
    """What the potentials maximise, [E, 1, 1]."""
    free = (scores + potentials).logsumexp(1, keepdim=True).sum(2, keepdim=True)
    return share * potentials.sum(1, keepdim=True) - free


def _shares(weights: Tensor) -> Tensor:
    """Weights [E, W, N] divided by their sum over N."""
    return weights / weights.sum(2, keepdim=True)
