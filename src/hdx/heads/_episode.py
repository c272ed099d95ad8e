"""What the episode heads share: they judge the queries of few-shot episodes from support (and, transductively, queries)."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._base import Head


class EpisodeHead(Head):
    """A head of few-shot episodes, evaluated in batches of them (`protocol=episodic`).

    Subclasses define `classify`. It has no classes of its own, so `forward` is not defined; configs that would need it are
    refused before any work (`hdx.config.checks`).

    Attributes:
        matched: whether accuracy after Hungarian matching is reported as a second metric (clustering methods).
        base_mean: [D], set by the engine where `centres_on_base` (mean feature of the base classes' images); else None.
    """

    kind: ClassVar[Literal["statistics", "gradient", "episode"]] = "episode"
    matched: ClassVar[bool] = False
    base_mean: Tensor

    def __init__(self, n_features: int) -> None:
        super().__init__(n_features)
        self.register_buffer("base_mean", torch.zeros(n_features))

    @property
    def centres_on_base(self) -> bool:
        """Whether the mean feature of the base classes is subtracted first (CL2N), so that the engine must set it."""
        return False

    def forward(self, features: Tensor) -> Tensor:
        """Not defined."""
        raise NotImplementedError(f"head {type(self).__name__} classifies episodes only")

    @abstractmethod
    def classify(self, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
        """Logits [E, Q, ways]; see `Head.classify`."""


def transformed(features: Tensor, base_mean: Tensor | None, normalise: bool) -> Tensor:
    """Features [E, N, D] minus the base classes' mean [D] where it is given, then L2-normalised if asked (Wang et al. 2019)."""
    if base_mean is not None:
        features = features - base_mean
    return F.normalize(features, dim=2) if normalise else features


def class_means(support: Tensor, labels: Tensor, ways: int) -> Tensor:
    """Prototypes [E, ways, D]: the mean of each class's support (Snell et al. 2017, eq. 1).

    Args:
        support: [E, S, D].
        labels: [E, S] int64 in [0, ways).
    """
    n_episodes, n_support, _ = support.shape
    shots = n_support // ways
    if shots * ways == n_support and bool((labels == torch.arange(ways, device=labels.device).repeat_interleave(shots)).all()):
        return support.view(n_episodes, ways, shots, -1).mean(2)  # sorted, the same number of each: no weights needed
    return weighted_means(support, F.one_hot(labels, ways).to(support.dtype))


def weighted_means(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted class means [E, W, D] of features [E, N, D] by weights [E, N, W]; a class of weight 0 gets zeros."""
    sums = weights.transpose(1, 2) @ features  # [E, W, D]
    return sums / weights.sum(1).clamp(min=torch.finfo(weights.dtype).tiny)[..., None]


def squared_distances(samples: Tensor, points: Tensor) -> Tensor:
    """Squared Euclidean distances [E, N, W] of samples [E, N, D] to points [E, W, D].

    Both are taken about the mean of the points first, so that an offset that all features share costs no digits.
    """
    centre = points.mean(1, keepdim=True)  # [E, 1, D]
    samples, points = samples - centre, points - centre
    own = torch.linalg.vector_norm(samples, dim=2, keepdim=True).square()  # [E, N, 1]
    lengths = torch.linalg.vector_norm(points, dim=2).square()[:, None]  # [E, 1, W]
    return torch.baddbmm(lengths, samples, points.transpose(1, 2), alpha=-2).add_(own).clamp_(min=0)


def cosines(samples: Tensor, points: Tensor) -> Tensor:
    """Cosines [E, N, W] between samples [E, N, D] and points [E, W, D]; those of a zero vector are 0."""
    products = samples @ F.normalize(points, dim=2).transpose(1, 2)
    return products / torch.linalg.vector_norm(samples, dim=2, keepdim=True).clamp_(min=1e-12)
