"""TIM: prototypes tuned to inform about the queries as much as they can."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._descent import Cosines, adam, entropy_slope, support_slope
from hdx.heads._episode import EpisodeHead, class_means
from hdx.options import NonNegativeFloat, NonNegativeInt, PositiveFloat


class TIM(EpisodeHead):
    """Transductive information maximisation, by gradient steps on the prototypes.

    Logits are temperature * cos(x, p_c). Adam lowers, from the class means of the support on,
    cross_entropy_weight * CE(support) - [marginal_entropy_weight * H(mean_q p_q) - conditional_entropy_weight * mean_q H(p_q)],
    the bracket being the mutual information of queries and predictions. The marginal term pulls towards equally many
    queries of each class: it helps when queries are balanced and harms when they are not. The body is not tuned.

    The maths and defaults are those of the public code of easyfsl, whose benchmark (preset `tim_benchmark`) takes a tenfold
    learning rate. Boudiaf et al. write the cosines as distances of normalised vectors, which is the same up to a constant
    while prototypes are normalised, and give closed-form updates (TIM-ADM) that are not here.

    Source: Boudiaf et al. 2020, "Transductive Information Maximization for Few-Shot Learning" (TIM-GD).

    Args:
        n_features: D.
        steps: of Adam.
        lr: learning rate of Adam.
        temperature: multiplies the cosines.
        cross_entropy_weight: of the support's cross entropy.
        marginal_entropy_weight: of the entropy of the mean prediction of the queries, which grows.
        conditional_entropy_weight: of the mean entropy of the queries' predictions, which falls.
        normalise: L2-normalise features before class means are taken.
    """

    def __init__(
        self,
        n_features: int,
        *,
        steps: NonNegativeInt = 50,
        lr: PositiveFloat = 1e-4,
        temperature: PositiveFloat = 10.0,
        cross_entropy_weight: NonNegativeFloat = 1.0,
        marginal_entropy_weight: NonNegativeFloat = 1.0,
        conditional_entropy_weight: NonNegativeFloat = 0.1,
        normalise: bool = True,
    ) -> None:
        super().__init__(n_features)
        self.steps, self.lr, self.temperature, self.normalise = steps, lr, temperature, normalise
        self.cross_entropy_weight = cross_entropy_weight
        self.marginal_entropy_weight = marginal_entropy_weight
        self.conditional_entropy_weight = conditional_entropy_weight

    def slope(self, logits: Tensor, one_hot: Tensor) -> Tensor:
        """Derivative [E, W, N] of the loss by the logits [E, W, N], support first; one_hot [E, W, S]."""
        n_support = one_hot.shape[2]
        log_p = logits.log_softmax(1)
        support = self.cross_entropy_weight * support_slope(log_p[..., :n_support].exp(), one_hot)
        weights = self.conditional_entropy_weight, self.marginal_entropy_weight
        return torch.cat([support, entropy_slope(log_p[..., n_support:], *weights)], 2)

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""
        cosines = Cosines(torch.cat([support, query], 1), self.temperature)
        if self.normalise:
            support = F.normalize(support, dim=2)
        one_hot = F.one_hot(labels, ways).to(support.dtype).transpose(1, 2).contiguous()  # [E, W, S]

        def gradient(prototypes: Tensor) -> Tensor:
            return cosines.gradient(self.slope(cosines.logits(prototypes), one_hot))

        prototypes = adam(class_means(support, labels, ways), gradient, self.steps, self.lr)
        return cosines.logits(prototypes)[..., labels.shape[1] :].transpose(1, 2)

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: samples, joined, normalised; tables of prototypes and logits."""
        n_samples = n_support + n_query
        return (3 * n_samples + n_support + 8 * ways) * self.n_features + 8 * n_samples * ways
