"""What the Laplacian-regularised heads share: the graph of nearest neighbours and the bound that is iterated on it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from hdx.heads._episode import squared_distances


def nearest_others(distances: Tensor, k: int) -> Tensor:
    """Positions [E, N, k] int64 of the k nearest others by distances [E, N, N], which are written over; at most N - 1."""
    distances.diagonal(dim1=1, dim2=2).fill_(torch.inf)
    k = min(k, distances.shape[1] - 1)
    if k > 4 or k == 0:
        return distances.topk(k, dim=2, largest=False, sorted=False).indices
    found = []
    for _ in range(k):  # for a few, three times faster than topk
        found.append(distances.argmin(2, keepdim=True))  # [E, N, 1]
        distances.scatter_(2, found[-1], torch.inf)
    return torch.cat(found, 2)


def nearest_graph(distances: Tensor, k: int) -> Tensor:
    """Graph [E, N, N] of the k nearest others by distances [E, N, N]; see `knn_graph`."""
    return torch.zeros_like(distances).scatter_(2, nearest_others(distances.clone(), k), 1.0)


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
        graph: [E, N, N] affinities, row i those of sample i, need not be symmetric; or [E, N, k] int64, the samples to which
            sample i has affinity 1 (`nearest_others`), which is the faster form.
        lam: weight of the Laplacian term.
        steps: at most so many; 0 gives the start.
        tol: relative change of the energy at which an episode stops.
        start: [E, N, W] first assignments; softmax(-unary) when absent.
    Returns: [E, N, W], dtype of `unary`; rows sum to 1.
    """
    cost = unary.double().transpose(1, 2).contiguous()  # [E, W, N]: softmax over the middle axis is several times faster
    pull = _pull(graph, lam)
    assignments = (-cost).softmax(1) if start is None else start.double().transpose(1, 2).contiguous()
    pulled = pull(assignments)  # [E, W, N]
    energy = torch.full(unary.shape[:1], torch.inf, dtype=cost.dtype, device=cost.device)
    going = torch.ones_like(energy, dtype=torch.bool)
    for step in range(steps):
        logits = (pulled - cost).log_softmax(1)
        new = logits.exp()
        pulled_by_new = pull(new)
        new_energy = (new * (logits + cost - pulled_by_new)).sum((1, 2))
        assignments = torch.where(going[:, None, None], new, assignments)
        pulled = pulled_by_new
        if step > 1:
            going = going & ((new_energy - energy).abs() > tol * energy.abs())
            if not going.any():
                break
        energy = new_energy
    return assignments.transpose(1, 2).to(unary.dtype)


def _pull(graph: Tensor, lam: float) -> Callable[[Tensor], Tensor]:
    """Assignments [E, W, N] float64 to lam times what the neighbours of each sample are assigned."""
    if graph.is_floating_point():
        affinities = lam * graph.double().transpose(1, 2)  # [E, N, N]
        return lambda assignments: assignments @ affinities
    n_episodes, n_samples, k = graph.shape
    places = graph.transpose(1, 2).reshape(n_episodes, 1, k * n_samples)

    def pull(assignments: Tensor) -> Tensor:
        ways = assignments.shape[1]
        picked = assignments.gather(2, places.expand(-1, ways, -1))  # [E, W, k * N]
        return lam * picked.view(n_episodes, ways, k, n_samples).sum(2)

    return pull
