"""SLK: an episode's queries are labelled by clustering them together with the support."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import EpisodeHead, squared_distances
from hdx.heads._laplacian import laplacian_bound, nearest_graph
from hdx.options import NonNegativeFloat, PositiveFloat, PositiveInt

MEAN_SHIFT_STEPS, MEAN_SHIFT_TOL = 1000, 1e-5
TINY = torch.finfo(torch.float64).tiny


class SLK(EpisodeHead):
    """Constrained clustering of support and queries: K-means, K-modes, and both with a Laplacian term.

    Over assignments Z (rows on the simplex) and centres, in turns: sum_ik Z_ik d_k(x_i) - lam sum_k z_k' G z_k, where G links
    each sample to its nearest neighbours. `means`: d = ||x - c_k||^2, c_k the mean under Z (with lam 0 Z is 0 or 1, Lloyd's
    K-means). `modes`: d = -exp(-||x - c_k||^2 / (2 sigma^2)), c_k moved by mean shift over the class's samples,
    sigma^2 = sum_ij G_ij ||x_i - x_j||^2 / (5 N). Z comes from the bound of `laplacian_bound`, or from the nearest centre
    with lam 0. Centres start at the class means of the support; features are CL2N and the queries' mean is moved onto the
    support's. Presets: k_means, k_modes, slk_means; the default is SLK-MS.

    Logits are log Z (with lam 0, -d), so `acc` is plain accuracy. Published accuracies of SLK are taken after Hungarian matching
    of clusters to classes in each episode, with the truth in view: that is `acc_matched`.
    The paper fixes the support's labels and so does `clamp`; the authors' code uses them to start only (clamp=false), and then
    soft means can run together.
    Mean shift stops by the Euclidean length of the move, relative to that of the centre; the code takes largest elements.
    A class that loses all its samples (only without `clamp`) keeps its centre.

    Source: Ziko et al. 2021, "Transductive Few-Shot Learning: Clustering is All You Need?".

    Args:
        n_features: D.
        unary: what a centre is, the mean or the mode of its cluster.
        lam: weight of the Laplacian term; 0 for K-means and K-modes.
        knn: neighbours in the graph, the sample itself counted: 3 links each sample to two others.
        clamp: keep the support at its labels.
        centre: subtract the mean feature of the base classes first, or nothing.
        normalise: L2-normalise features after that.
        shift: move the queries so that their mean is the support's; wrong where the classes' shares differ between the two.
        steps: rounds of centres and assignments at most.
        tol: relative change of the energy at which an episode is done.
        bound_steps: iterations of the bound within a round at most.
        bound_tol: relative change of its energy at which the bound is done.
    """

    matched: ClassVar[bool] = True

    def __init__(
        self,
        n_features: int,
        *,
        unary: Literal["means", "modes"] = "modes",
        lam: NonNegativeFloat = 0.5,
        knn: PositiveInt = 3,
        clamp: bool = True,
        centre: Literal["none", "base"] = "base",
        normalise: bool = True,
        shift: bool = True,
        steps: PositiveInt = 100,
        tol: PositiveFloat = 1e-5,
        bound_steps: PositiveInt = 600,
        bound_tol: PositiveFloat = 1e-6,
    ) -> None:
        super().__init__(n_features)
        self.unary, self.lam, self.knn, self.clamp = unary, lam, knn, clamp
        self.centre, self.normalise, self.shift = centre, normalise, shift
        self.steps, self.tol, self.bound_steps, self.bound_tol = steps, tol, bound_steps, bound_tol

    @property
    def centres_on_base(self) -> bool:
        """Whether the engine must set `base_mean`."""
        return self.centre == "base"

    def transform(self, support: Tensor, query: Tensor) -> Tensor:
        """Support and queries [E, N, D] as they are clustered."""
        if self.centre == "base":
            support, query = support - self.base_mean, query - self.base_mean
        if self.normalise:
            support, query = F.normalize(support, dim=2), F.normalize(query, dim=2)
        if self.shift:
            query = query + (support.mean(1, keepdim=True) - query.mean(1, keepdim=True))
        return torch.cat([support, query], 1)

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""
        n_support = labels.shape[1]
        episodes = _Episodes.of(self.transform(support, query), F.one_hot(labels, ways), self.knn)
        given = F.pad(episodes.one_hot, (0, query.shape[1]))  # [E, W, N] the support's labels
        centres = _shares(given)
        nearest = _hard(episodes.distances(centres))
        nearest[..., :n_support] = episodes.one_hot
        state = _State(nearest, centres, torch.full_like(nearest[:, 0, 0], torch.inf))
        logits = torch.zeros_like(nearest)
        live = torch.arange(len(query), device=query.device)
        for step in range(self.steps):
            new, scores = self.round(episodes, state)
            logits[live] = scores
            going = (new.energy - state.energy).abs() > self.tol * state.energy.abs()
            if step < 2:
                going[:] = True
            if not going.any():
                break
            episodes, state, live = episodes.keep(going), new.keep(going), live[going]
        return logits[..., n_support:].transpose(1, 2).to(query.dtype)

    def round(self, episodes: _Episodes, state: _State) -> tuple[_State, Tensor]:
        """New centres, then new assignments; and the logits [E, W, N] that they come from."""
        if self.unary == "means":
            filled = state.assignments.sum(2, keepdim=True) > 0
            centres = torch.where(filled, _shares(state.assignments), state.centres)
            cost = episodes.distances(centres)
        else:
            centres = episodes.mean_shift(_hard(-state.assignments) > 0, state.centres)
            cost = -(-episodes.distances(centres) / (2 * episodes.variance)).exp()
        if self.lam > 0:
            assignments = self.bound(episodes, cost)
            scores = assignments.clamp(min=TINY).log()
        else:
            assignments, scores = _hard(cost), -cost
        if self.clamp:
            assignments[..., : episodes.one_hot.shape[2]] = episodes.one_hot
        pulled = assignments @ episodes.graph.transpose(1, 2)
        energy = (assignments * (cost - self.lam * pulled)).sum((1, 2))
        return _State(assignments, centres, energy), scores

    def bound(self, episodes: _Episodes, cost: Tensor) -> Tensor:
        """Soft assignments [E, W, N] for costs [E, W, N]; with `clamp` the support is a constant pull on its neighbours."""
        graph, options = episodes.graph, (self.lam, self.bound_steps, self.bound_tol)
        if not self.clamp:
            return laplacian_bound(cost.transpose(1, 2), graph, *options).transpose(1, 2).contiguous()
        s = episodes.one_hot.shape[2]
        pulled = episodes.one_hot @ graph[:, s:, :s].transpose(1, 2)  # [E, W, Q]
        cost, start = cost[..., s:], (-cost[..., s:]).softmax(1)
        unary = (cost - self.lam * pulled).transpose(1, 2)
        queries = laplacian_bound(unary, graph[:, s:, s:], *options, start=start.transpose(1, 2))
        return torch.cat([episodes.one_hot, queries.transpose(1, 2)], 2)

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: samples and five copies, seven float64 tables of pairs, twenty of assignments."""
        n_samples = n_support + n_query
        return 6 * n_samples * self.n_features + 14 * n_samples * n_samples + 40 * n_samples * ways


class _Episodes(NamedTuple):
    """What is constant: all distances are known, and a centre is its weights over the samples [E, W, N], which sum to 1."""

    squared: Tensor  # [E, N, N]
    graph: Tensor  # [E, N, N]
    lengths: Tensor  # [E, N] ||x||^2
    variance: Tensor  # [E, 1, 1] sigma^2
    one_hot: Tensor  # [E, W, S]

    @classmethod
    def of(cls, samples: Tensor, one_hot: Tensor, knn: int) -> _Episodes:
        """From samples [E, N, D] and labels [E, S, W]."""
        squared = squared_distances(samples, samples).double()
        squared.diagonal(dim1=1, dim2=2).zero_()
        graph = nearest_graph(squared, knn - 1)
        variance = (graph * squared).sum((1, 2), keepdim=True) / (5 * samples.shape[1])
        lengths = samples.double().square().sum(2)
        return cls(squared, graph, lengths, variance.clamp(min=TINY), one_hot.transpose(1, 2).double())

    def keep(self, going: Tensor) -> _Episodes:
        """The episodes that go on, given which do [E]."""
        return _Episodes(*(value[going] for value in self))

    def distances(self, centres: Tensor) -> Tensor:
        """Squared distances [E, W, N] of the samples from centres [E, W, N]: sum_i a_i d_ij - 1/2 sum_ij a_i d_ij a_j."""
        crossed = centres @ self.squared
        return (crossed - 0.5 * (crossed * centres).sum(2, keepdim=True)).clamp(min=0)

    def mean_shift(self, members: Tensor, centres: Tensor) -> Tensor:
        """Centres [E, W, N] moved to a mode of their members [E, W, N] bool; each stops on its own."""
        going = members.any(2, keepdim=True)  # [E, W, 1]
        for _ in range(MEAN_SHIFT_STEPS):
            distances = self.distances(centres)
            kernel = (-distances / (2 * self.variance)).masked_fill(~members, -torch.inf)
            moved = torch.where(going, kernel.softmax(2), centres)
            step = moved - centres
            squared_step = -0.5 * ((step @ self.squared) * step).sum(2, keepdim=True)
            half_spread = 0.5 * ((centres @ self.squared) * centres).sum(2, keepdim=True)
            squared_length = (centres @ self.lengths[..., None]) - half_spread
            going = going & (squared_step >= MEAN_SHIFT_TOL**2 * squared_length)
            centres = moved
            if not going.any():
                break
        return centres


class _State(NamedTuple):
    """What a round changes."""

    assignments: Tensor  # [E, W, N]
    centres: Tensor  # [E, W, N] weights over the samples
    energy: Tensor  # [E]

    def keep(self, going: Tensor) -> _State:
        """The episodes that go on, given which do [E]."""
        return _State(*(value[going] for value in self))


def _hard(cost: Tensor) -> Tensor:
    """1 at the smallest of the W costs of each sample [E, W, N], 0 elsewhere."""
    return torch.zeros_like(cost).scatter_(1, cost.argmin(1, keepdim=True), 1.0)


def _shares(weights: Tensor) -> Tensor:
    """Weights [E, W, N] divided by their sum over N."""
    return weights / weights.sum(2, keepdim=True).clamp(min=TINY)
