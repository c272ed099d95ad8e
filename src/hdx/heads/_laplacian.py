"""What the Laplacian-regularised heads share: the graph of nearest neighbours and the bound that is iterated on it."""

from __future__ import annotations

import torch
from torch import Tensor

from hdx.heads._episode import squared_distances


def nearest_graph(distances: Tensor, k: int) -> Tensor:
    """Graph [E, N, N] of the k nearest others by distances [E, N, N]; see `knn_graph`."""
    others, graph = distances.clone(), torch.zeros_like(distances)
    others.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    k = min(k, distances.shape[1] - 1)
    if k > 4:
        return graph.scatter_(2, others.topk(k, dim=2, largest=False, sorted=False).indices, 1.0)
    for _ in range(k):  # for a few, three times faster than topk
        nearest = others.argmin(2, keepdim=True)  # [E, N, 1]
        graph.scatter_(2, nearest, 1.0)
        others.scatter_(2, nearest, torch.inf)
    return graph


def knn_graph(features: Tensor, k: int) -> Tensor:
    """Nearest-neighbour graphs of E sets of samples, by Euclidean distance.

    Args:
        features: [E, N, D].
        k: neighbours of each sample, itself not counted (the `knn` of published code counts it); at most N - 1 are taken.
    Returns: [E, N, N], dtype of `features`: row i is 1 at the k nearest others of i and 0 elsewhere. Not symmetrised.
    """
    return nearest_graph(squared_distances(features, features), k)


def laplacian_bound(unary: Tensor, graph: Tensor, lam: float, steps: int, tol: float, start: Tensor | None = None) -> Tensor:
    """Soft assignments that minimise sum[Y log Y + unary * Y - lam (graph Y) * Y] over the simplex, by its bound.

    The iteration is Y <- softmax(-unary + lam graph Y) (Ziko et al. 2020, "Laplacian Regularized Few-Shot Learning",
    algorithm 1). An episode stops after at least three steps, when its energy changes by no more than
    `tol` times its magnitude; it is frozen then, so that it does not depend on the others of the batch. Computed in
    float64: with float32 energies the rounding of a batched product would decide when to stop.

    Args:
        unary: [E, N, W] cost of giving sample i to class c.
        graph: [E, N, N] affinities, row i those of sample i; need not be symmetric.
        lam: weight of the Laplacian term.
        steps: at most so many; 0 gives the start.
        tol: relative change of the energy at which an episode stops.
        start: [E, N, W] first assignments; softmax(-unary) when absent.
    Returns: [E, N, W], dtype of `unary`; rows sum to 1.
    """
    cost = unary.double().transpose(1, 2).contiguous()  # [E, W, N]: softmax over the middle axis is several times faster
    pull = lam * graph.double().transpose(1, 2)  # [E, N, N]
    assignments = (-cost).softmax(1) if start is None else start.double().transpose(1, 2).contiguous()
    pulled = assignments @ pull  # [E, W, N]
    energy = torch.full(unary.shape[:1], torch.inf, dtype=cost.dtype, device=cost.device)
    going = torch.ones_like(energy, dtype=torch.bool)
    for step in range(steps):
        logits = (pulled - cost).log_softmax(1)
        new = logits.exp()
        pulled_by_new = new @ pull
        new_energy = (new * (logits + cost - pulled_by_new)).sum((1, 2))
        assignments = torch.where(going[:, None, None], new, assignments)
        pulled = pulled_by_new
        if step > 1:
            going = going & ((new_energy - energy).abs() > tol * energy.abs())
            if not going.any():
                break
        energy = new_energy
    return assignments.transpose(1, 2).to(unary.dtype)
