"""SimpleShot: the nearest class mean of centred and L2-normalised features."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from hdx.heads._episode import EpisodeHead, class_means, cosines, squared_distances, transformed


class SimpleShot(EpisodeHead):
    """SimpleShot: nearest class mean in few-shot episodes after a transformation of the features.

    The paper's transformations are UN (`centre=none normalise=false`), L2N (`centre=none`) and CL2N (`centre=base`), and it
    takes the class mean at the smallest Euclidean distance. Its public reimplementation (easyfsl) takes the largest cosine
    instead, and so does the default here; the two differ although samples are normalised, because class means are not.

    Source: Wang et al. 2019, "SimpleShot: Revisiting Nearest-Neighbor Classification for Few-Shot Learning".

    Args:
        n_features: D.
        centre: what is subtracted first: nothing, or the mean feature of the base classes' images.
        normalise: L2-normalise features before class means are taken.
        metric: logits are cosines to the class means, or negative squared distances (euclidean).
    """

    def __init__(
        self,
        n_features: int,
        *,
        centre: Literal["none", "base"] = "none",
        normalise: bool = True,
        metric: Literal["cosine", "euclidean"] = "cosine",
    ) -> None:
        super().__init__(n_features)
        self.centre, self.normalise, self.metric = centre, normalise, metric

    @property
    def centres_on_base(self) -> bool:
        """True with `centre=base`."""
        return self.centre == "base"

    def prepared(self, features: Tensor) -> Tensor:
        """Features [E, N, D], centred and normalised as the options say."""
        return transformed(features, self.base_mean if self.centres_on_base else None, self.normalise)

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""
        means, query = class_means(self.prepared(support), labels, ways), self.prepared(query)
        return cosines(query, means) if self.metric == "cosine" else -squared_distances(query, means)

    def for_nearest_means(self, features: Tensor) -> tuple[Tensor, bool]:
        """See `Head.for_nearest_means`."""
        return self.prepared(features[None])[0], self.metric == "cosine"
