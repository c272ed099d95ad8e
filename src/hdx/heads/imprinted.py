"""Imprinted weights: classes on the hypersphere, novel ones added without training."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._episode import class_means
from hdx.heads._statistics import StatisticsHead
from hdx.options import PositiveFloat


def on_sphere(features: Tensor, layer_norm: bool) -> Tensor:
    """Features [..., D] of length 1; with `layer_norm` each is first centred on its own mean (layer norm without affine)."""
    if layer_norm:
        features = F.layer_norm(features, features.shape[-1:])
    return F.normalize(features, dim=-1)


class Imprinted(StatisticsHead):
    """Imprinted weights: a new class's weight is the normalised mean of its normalised features.

    logit_c = scale * cos(x, w_c). Classes whose weights were trained (`take_base`, by method=normsoftmax) keep them; all others
    are imprinted from their samples, exactly, however these are split into sessions. Few-shot episodes are scored among
    their own classes (disjoint) and, by the same logits, beside the base classes (joint).

    Source: Qi, Brown and Lowe 2018, "Low-Shot Learning with Imprinted Weights"; Pereira et al. 2021, "Hyperspherical embedding
        for novel class classification" (its formula from memory); the layer norm from Zhai and Wu's code (see normsoftmax).

    Args:
        n_features: D.
        scale: inverse temperature of the cosines; changes probabilities and no decision.
        layer_norm: centre each feature vector on its own mean before it is normalised; must agree with method.layer_norm.
    """

    joint: ClassVar[bool] = True
    base: Tensor

    def __init__(self, n_features: int, *, scale: PositiveFloat = 20.0, layer_norm: bool = True) -> None:
        super().__init__(n_features, gram=False)
        self.scale, self.layer_norm = scale, layer_norm
        self.register_buffer("base", torch.zeros(0, n_features, dtype=torch.float64))  # [B, D] trained weights of the first B

    def prepare(self, features: Tensor) -> Tensor:
        """Features [..., D] on the hypersphere, in float64."""
        return on_sphere(features.double(), self.layer_norm)

    @torch.no_grad()
    def take_base(self, weight: Tensor) -> None:
        """Keep trained weights [B, D] for the first B classes. Raises: ValueError when there are fewer classes than rows."""
        if weight.ndim != 2 or weight.shape[1] != self.n_features or len(weight) > self.n_classes:
            raise ValueError(f"Expected weights [B <= {self.n_classes}, {self.n_features}], got {list(weight.shape)}")
        with torch.inference_mode(False):
            self.base = F.normalize(weight.detach().to(self.base, copy=True), dim=1)
        self._solved_for = None

    def fresh(self) -> StatisticsHead:
        """A head with the same options, no samples and no trained weights."""
        fresh = super().fresh()
        fresh.base = self.base[:0]
        return fresh

    def solve(self) -> tuple[Tensor, Tensor]:
        """Weights [C, D] of length 1, and penalty [C]: 0, or -inf for a class with neither samples nor a trained weight."""
        total = self.moments.total()
        means = total.sums / total.counts.clamp(min=1)[:, None] + total.pivot
        known = total.counts > 0
        known[: len(self.base)] = True
        weights = torch.cat([self.base, F.normalize(means[len(self.base) :], dim=1)])
        return weights, torch.where(known, 0.0, -torch.inf).to(weights)

    def score(self, features: Tensor, solution: tuple[Tensor, Tensor]) -> Tensor:
        """Logits [B, C] in [-scale, scale]."""
        weights, penalty = solution
        return self.scale * (features @ weights.T) + penalty

    @torch.no_grad()
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways] of episodes, comparable with those of `forward`; see `Head.classify`."""
        means = class_means(on_sphere(support, self.layer_norm), labels, ways)  # [E, W, D]
        return self.scale * (on_sphere(query, self.layer_norm) @ F.normalize(means, dim=-1).transpose(1, 2))

    def episode_floats(self, n_support: int, n_query: int, ways: int) -> int:
        """See `Head.episode_floats`: inputs, and of the one that is normalised two copies."""
        return 3 * (n_support + n_query + ways) * self.n_features + 3 * n_query * ways

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        saved = state_dict.get(f"{prefix}base")
        if saved is not None:  # as many rows as were trained, none before
            self.base = self.base.new_zeros(saved.shape)
        super()._load_from_state_dict(state_dict, prefix, *args)
        self._solved_for = None
