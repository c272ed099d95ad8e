"""Prototypes tuned on the support set: a cosine classifier trained for each episode."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._descent import Cosines, adam, support_slope
from hdx.heads._episode import EpisodeHead, class_means
from hdx.options import NonNegativeInt, PositiveFloat


class TunedPrototypes(EpisodeHead):
    """Prototypes tuned by Adam on the support's cross entropy; the queries are judged one by one.

    Logits are temperature * cos(x, p_c); p_c starts at the mean of the class's support. Called Finetune in easyfsl, whose
    constructor takes temperature 1 and whose benchmark (preset `tuned_prototypes_benchmark`) takes 10 and 50 steps; here 10
    is the default, because cosines in [-1, 1] leave almost nothing to gain at 1. Chen et al. train a fresh classifier on
    unnormalised features; starting from class means and leaving the body alone is easyfsl's choice.

    Source: Chen et al. 2019, "A Closer Look at Few-shot Classification" (Baseline++), as in easyfsl's Finetune.

    Args:
        n_features: D.
        steps: of Adam.
        lr: learning rate of Adam.
        temperature: multiplies the cosines.
        normalise: L2-normalise features before class means are taken.
    """

    def __init__(
        self,
        n_features: int,
        *,
        steps: NonNegativeInt = 200,
        lr: PositiveFloat = 1e-4,
        temperature: PositiveFloat = 10.0,
        normalise: bool = True,
    ) -> None:
        super().__init__(n_features)
        self.steps, self.lr, self.temperature, self.normalise = steps, lr, temperature, normalise

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""
        if self.normalise:
            support = F.normalize(support, dim=2)
        cosines = Cosines(support, self.temperature)
        one_hot = F.one_hot(labels, ways).to(support.dtype).transpose(1, 2).contiguous()  # [E, W, S]

        def gradient(prototypes: Tensor) -> Tensor:
            return cosines.gradient(support_slope(cosines.logits(prototypes).softmax(1), one_hot))

        prototypes = adam(class_means(support, labels, ways), gradient, self.steps, self.lr)
        return Cosines(query, self.temperature).logits(prototypes).transpose(1, 2)

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: samples, normalised twice; tables of prototypes and logits."""
        n_samples = n_support + n_query
        return (3 * n_samples + 8 * ways) * self.n_features + 6 * n_samples * ways
