"""BD-CSPN: prototypes rectified by the queries that look most like them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import EpisodeHead, class_means, cosines


class BDCSPN(EpisodeHead):
    """BD-CSPN: cosine similarity to prototypes rectified by pseudo-labelled queries.

    Queries are moved by the difference of the means of support and queries (cross-class bias); each is given the class of
    the nearest prototype, and each prototype becomes the mean of its support and of those queries, weighted by
    exp(cosine to the old prototype) (intra-class bias). Queries, not moved, are then classified by their cosines to the new
    prototypes. The weights and the last step follow the public reimplementation (easyfsl); LaplacianShot's authors
    instead weigh by a softmax over classes of 10 * cosine and score the moved queries.

    Source: Liu, Song and Qin 2020, "Prototype Rectification for Few-Shot Learning".

    Args:
        n_features: D.
        normalise: L2-normalise features first.
    """

    def __init__(self, n_features: int, *, normalise: bool = True) -> None:
        super().__init__(n_features)
        self.normalise = normalise

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways], cosines; see `Head.classify`."""
        if self.normalise:
            support, query = F.normalize(support, dim=2), F.normalize(query, dim=2)
        return cosines(query, rectified_prototypes(support, labels, query, ways))

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: two copies of the queries, and three tables of prototypes."""
        return (2 * n_support + 3 * n_query + 5 * ways + 2) * self.n_features + 6 * n_query * ways


def rectified_prototypes(support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
    """Prototypes [E, W, D] of support and pseudo-labelled queries (Liu et al. 2020; see `BDCSPN`).

    Args:
        support: [E, S, D].
        labels: [E, S] int64 in [0, ways).
        query: [E, Q, D].
    """
    prototypes = class_means(support, labels, ways)
    moved = query + (support.mean(1, keepdim=True) - query.mean(1, keepdim=True))
    sums, totals = torch.zeros_like(prototypes), prototypes.new_zeros(len(support), ways)
    for samples, given in ((support, labels), (moved, None)):
        scores = cosines(samples, prototypes)  # [E, N, W]
        assigned = (scores.argmax(2) if given is None else given)[..., None]  # [E, N, 1]
        weights = torch.zeros_like(scores).scatter_(2, assigned, scores.gather(2, assigned).exp())
        sums.baddbmm_(weights.transpose(1, 2), samples)
        totals += weights.sum(1)
    return sums / totals[..., None]
