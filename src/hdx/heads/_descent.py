"""What the heads that tune prototypes share: Adam, and the two families of logits with their gradients in closed form.

Everything is laid out [E, W, N], classes before samples: a softmax over the middle axis runs over contiguous samples.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def adam(prototypes: Tensor, gradient: Callable[[Tensor], Tensor], steps: int, lr: float) -> Tensor:
    """Prototypes [E, W, D] after `steps` of Adam (Kingma and Ba 2015) with the usual constants.

    Adam works element by element, so E episodes at once go the way that each goes alone.

    Args:
        prototypes: [E, W, D], changed in place.
        gradient: from prototypes [E, W, D] to the gradient of the episodes' own losses, of the same shape.
        steps: of Adam.
        lr: learning rate.
    """
    fused = prototypes.device.type in ("cpu", "cuda")
    optimiser = torch.optim.Adam([prototypes], lr=lr, fused=fused)
    for _ in range(steps):
        prototypes.grad = gradient(prototypes)
        optimiser.step()
    prototypes.grad = None
    return prototypes


class Cosines:
    """Logits scale * cos(x_n, p_c) and their gradient with respect to the prototypes.

    Args:
        features: [E, N, D].
        scale: temperature that multiplies the cosines.
    """

    def __init__(self, features: Tensor, scale: float) -> None:
        self.directions = F.normalize(features, dim=2)
        self.scale = scale

    def logits(self, prototypes: Tensor) -> Tensor:
        """[E, W, N] of prototypes [E, W, D]."""
        self.prototypes = prototypes
        self.lengths = torch.linalg.vector_norm(prototypes, dim=2, keepdim=True).clamp_(min=1e-12)  # [E, W, 1]
        self.last = (prototypes @ self.directions.transpose(1, 2)).mul_(self.scale / self.lengths)
        return self.last

    def gradient(self, slope: Tensor) -> Tensor:
        """[E, W, D], given the loss's derivative [E, W, N] by the logits of the last call."""
        radial = (slope * self.last).sum(2, keepdim=True)  # what would only lengthen a prototype
        inward = self.prototypes * (-radial / self.lengths.square())
        return inward.baddbmm_(slope * (self.scale / self.lengths), self.directions)


class Distances:
    """Logits -scale * ||x_n - p_c|| and their gradient with respect to the prototypes.

    In 1-shot a prototype starts on its only sample, and ||x||^2 + ||p||^2 - 2 xp would leave nothing but rounding of so
    small a distance. Distances are therefore kept as those to the first prototypes plus what the moves since add.
    The gradient at distance 0 is taken as 0.

    Args:
        features: [E, N, D].
        scale: temperature that multiplies the distances.
        origin: [E, W, D] prototypes before the first step.
    """

    def __init__(self, features: Tensor, scale: float, origin: Tensor) -> None:
        self.features, self.scale, self.origin = features, scale, origin.clone()
        first = torch.cdist(origin, features, compute_mode="donot_use_mm_for_euclid_dist")
        self.squared = first.square()  # [E, W, N]

    def logits(self, prototypes: Tensor) -> Tensor:
        """[E, W, N] of prototypes [E, W, D]."""
        self.moves = prototypes - self.origin  # [E, W, D]
        own = (self.moves * (self.moves + 2 * self.origin)).sum(2, keepdim=True)  # [E, W, 1] ||p||^2 - ||origin||^2
        added = own - 2 * (self.moves @ self.features.transpose(1, 2))  # [E, W, N]
        self.distances = (self.squared + added).clamp(min=0).sqrt()
        return -self.scale * self.distances

    def gradient(self, slope: Tensor) -> Tensor:
        """[E, W, D], given the loss's derivative [E, W, N] by the logits of the last call."""
        pull = torch.where(self.distances > 0, -self.scale * slope / self.distances, 0.0)  # [E, W, N]
        return pull.sum(2, keepdim=True) * (self.origin + self.moves) - pull @ self.features


def support_slope(probabilities: Tensor, one_hot: Tensor) -> Tensor:
    """Derivative [E, W, S] of the mean cross entropy of the support by its logits.

    Args:
        probabilities: [E, W, S] softmax of the logits.
        one_hot: [E, W, S] labels.
    """
    return (probabilities - one_hot) / one_hot.shape[2]


def entropy_slope(log_probabilities: Tensor, conditional: float, marginal: float = 0.0) -> Tensor:
    """Derivative [E, W, Q], by the logits, of conditional * mean_q H(p_q) - marginal * H(mean_q p_q).

    Args:
        log_probabilities: [E, W, Q] log softmax of the logits.
        conditional: weight of the mean entropy of the queries, which falls.
        marginal: weight of the entropy of the mean prediction, which grows.
    """
    probabilities = log_probabilities.exp()
    gain = -conditional * log_probabilities
    if marginal:
        mean = probabilities.mean(2, keepdim=True)  # [E, W, 1]
        gain = gain + marginal * mean.clamp(min=torch.finfo(mean.dtype).tiny).log()
    centred = gain - (probabilities * gain).sum(1, keepdim=True)
    return probabilities * centred / log_probabilities.shape[2]
