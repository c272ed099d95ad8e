"""Transductive fine-tuning of prototypes: right about the support, sure about the queries."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._descent import Distances, adam, entropy_slope, support_slope
from hdx.heads._episode import EpisodeHead, class_means
from hdx.options import NonNegativeInt, PositiveFloat


class TransductiveFinetune(EpisodeHead):
    """Prototypes tuned by Adam on the support's cross entropy plus the mean entropy of the queries' predictions.

    Logits are -temperature * ||x - p_c||_2, distances and not squared ones; p_c starts at the mean of the class's support.
    Dhillon et al. tune the whole network for 25 epochs at a learning rate of 5e-5; as in easyfsl, only the prototypes move
    here. Temperature 1 is easyfsl's default; its benchmark (preset `transductive_finetune_benchmark`) takes 10.

    Source: Dhillon et al. 2020, "A Baseline for Few-Shot Image Classification", as in easyfsl's TransductiveFinetuning.

    Args:
        n_features: D.
        steps: of Adam.
        lr: learning rate of Adam.
        temperature: multiplies the distances.
        normalise: L2-normalise features first.
    """

    def __init__(
        self,
        n_features: int,
        *,
        steps: NonNegativeInt = 25,
        lr: PositiveFloat = 5e-5,
        temperature: PositiveFloat = 1.0,
        normalise: bool = True,
    ) -> None:
        super().__init__(n_features)
        self.steps, self.lr, self.temperature, self.normalise = steps, lr, temperature, normalise

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""
        if self.normalise:
            support, query = F.normalize(support, dim=2), F.normalize(query, dim=2)
        prototypes = class_means(support, labels, ways)
        distances = Distances(torch.cat([support, query], 1), self.temperature, prototypes)
        one_hot = F.one_hot(labels, ways).to(support.dtype).transpose(1, 2).contiguous()  # [E, W, S]
        n_support = labels.shape[1]

        def gradient(prototypes: Tensor) -> Tensor:
            log_p = distances.logits(prototypes).log_softmax(1)  # [E, W, N]
            slopes = support_slope(log_p[..., :n_support].exp(), one_hot), entropy_slope(log_p[..., n_support:], 1.0)
            return distances.gradient(torch.cat(slopes, 2))

        adam(prototypes, gradient, self.steps, self.lr)
        return distances.logits(prototypes)[..., n_support:].transpose(1, 2)

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: samples, normalised and joined; tables of prototypes and logits."""
        n_samples = n_support + n_query
        return (4 * n_samples + 10 * ways) * self.n_features + 10 * n_samples * ways
