"""LaplacianShot: nearest rectified prototype, with neighbouring queries drawn to the same class."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import EpisodeHead
from hdx.heads._laplacian import laplacian_bound, nearest_others
from hdx.options import NonNegativeFloat, NonNegativeInt, PositiveInt
from hdx.rules import ANY, only_when


class LaplacianShot(EpisodeHead):
    """LaplacianShot: squared distances to prototypes, smoothed over the graph of the queries' nearest neighbours.

    Assignments Y [Q, W] lower sum[Y log Y + Y * ||q - p_c||^2 - lam * (graph Y) * Y] by its bound,
    Y <- softmax(-||q - p_c||^2 + lam * graph Y), from softmax(-||q - p_c||^2) on; logits are log Y. Prototypes are rectified
    as in head=bd_cspn, and distances taken from the queries as they are: so does the public reimplementation (easyfsl),
    whose defaults these are (its benchmark is the preset `laplacian_shot_benchmark`), where the authors' code measures from
    queries moved to the support's mean. The graph is not symmetrised. The authors centre on the base mean (`centre=base`).

    Source: Ziko et al. 2020, "Laplacian Regularized Few-Shot Learning", algorithm 1.

    Args:
        n_features: D.
        lam: weight of the Laplacian term (the paper's lambda; it is tuned on validation classes there).
        knn: neighbours of a query, itself counted as in the published code: 3 draws each query to two others.
        steps: at most so many; an episode stops earlier when its energy changes by a relative 1e-6 or less.
        centre: what is subtracted first: nothing, or the mean feature of the base classes' images.
        normalise: L2-normalise features, after the centring.
    """

    rules = (only_when("knn", lam=ANY),)

    def __init__(
        self,
        n_features: int,
        *,
        lam: NonNegativeFloat = 0.7,
        knn: PositiveInt = 3,
        steps: NonNegativeInt = 20,
        centre: Literal["none", "base"] = "none",
        normalise: bool = True,
    ) -> None:
        super().__init__(n_features)
        self.lam, self.knn, self.steps, self.centre, self.normalise = lam, knn, steps, centre, normalise

    @property
    def centres_on_base(self) -> bool:
        """True with `centre=base`."""
        return self.centre == "base"

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways], logarithms of the assignments; see `Head.classify`."""
        # distances to prototypes, which are weighted sums of samples, follow from the inner products that the graph needs anyhow
        gram = self.products(torch.cat([support, query], 1))
        n_support = labels.shape[1]
        mixture = rectifying_mixture(gram, labels, ways)  # [E, W, N]
        products = mixture @ gram
        own = (products * mixture).sum(2, keepdim=True)  # [E, W, 1] of the prototypes
        lengths = gram.diagonal(dim1=1, dim2=2)[:, None, n_support:]  # [E, 1, Q]
        unary = (lengths + own - 2 * products[:, :, n_support:]).clamp_(min=0)  # [E, W, Q]
        between = lengths - 2 * gram[:, n_support:, n_support:]  # but for the row's own length, which changes no order
        neighbours = nearest_others(between, self.knn - 1)
        assignments = laplacian_bound(unary.transpose(1, 2), neighbours, self.lam, self.steps, tol=1e-6)
        return assignments.clamp(min=torch.finfo(assignments.dtype).tiny).log().contiguous()

    def products(self, samples: Tensor) -> Tensor:
        """Inner products [E, N, N] of samples [E, N, D], written over, once centred and normalised as the options say."""
        if self.centres_on_base:
            samples -= self.base_mean
        gram = samples @ samples.transpose(1, 2)  # one product; its three blocks one by one take longer
        if self.normalise:
            scale = gram.diagonal(dim1=1, dim2=2).clamp(min=1e-24).rsqrt()  # [E, N]
            gram *= scale[:, :, None] * scale[:, None, :]
        return gram

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: samples twice, products of all pairs, the graph in both precisions, the assignments."""
        n_samples = n_support + n_query
        return 2 * n_samples * self.n_features + 4 * n_samples**2 + 3 * n_query**2 + 24 * n_samples * ways


def rectifying_mixture(gram: Tensor, labels: Tensor, ways: int) -> Tensor:
    """What `bd_cspn.rectified_prototypes` are made of: weights [E, W, N] of the samples, support first.

    Args:
        gram: [E, N, N] inner products of the samples.
        labels: [E, S] int64 in [0, ways), of the support.
    """
    n_support, n_samples = labels.shape[1], gram.shape[1]
    one_hot = F.one_hot(labels, ways).to(gram.dtype).transpose(1, 2)  # [E, W, S]
    means = F.pad(one_hot / one_hot.sum(2, keepdim=True), (0, n_samples - n_support))
    shift = gram.new_full((n_samples,), 1 / n_support)  # mean of the support minus mean of the queries
    shift[n_support:] = -1 / (n_samples - n_support)
    moved = torch.zeros_like(shift)  # which samples are moved by it: the queries
    moved[n_support:] = 1.0
    products = means @ gram  # [E, W, N] of class means and samples
    own = (products * means).sum(2, keepdim=True)
    products = products + (products @ shift)[..., None] * moved
    along = gram @ shift  # [E, N]
    lengths = gram.diagonal(dim1=1, dim2=2) + moved * (2 * along + (along @ shift)[:, None])
    cosines = products * (own * lengths[:, None]).clamp_(min=1e-24).rsqrt()  # [E, W, N]
    guesses = cosines[:, :, n_support:].transpose(1, 2).contiguous().argmax(2)
    assigned = torch.cat([labels, guesses], 1)[:, None]  # [E, 1, N]
    weights = torch.zeros_like(cosines).scatter_(1, assigned, cosines.gather(1, assigned).exp())
    weights = weights / weights.sum(2, keepdim=True)
    return weights + weights[:, :, n_support:].sum(2, keepdim=True) * shift
