"""How RanPAC chooses its ridge: the squared error on held-out samples of the current session, over seventeen decades."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from hdx.heads._products import Products
from hdx.ops._gram import product
from hdx.seeds import stream

GRID = [10.0**power for power in range(8, -9, -1)]  # from the largest, which always factors
SHARE = 0.2
COLUMNS = 2048  # of the projection at a time

Project = Callable[[Tensor, slice], Tensor]
"""Features [n, D] to the given columns of H [n, m] float64."""


def held_out(features: Tensor) -> Tensor:
    """[N] bool: about a fifth of the samples, drawn by a hash of each feature vector [N, D] itself.

    So it does not matter in which order, chunks or ranks the samples come; equal samples fall on one side.
    """
    bits = features.float().contiguous().view(torch.int32).long()
    odd = stream(0, "held_out").integers(-(2**62), 2**62, features.shape[1], dtype=np.int64) | 1
    mixed = (bits * torch.from_numpy(odd).to(bits.device)).sum(1)  # wraps
    mixed = (mixed ^ (mixed >> 29)) * 0x1F58476D1CE4E5B9
    return ((mixed >> 33) & 0x3FFFFFFF) < SHARE * 2**30


def choose(errors: Iterator[tuple[float, float]]) -> float | None:
    """The penalty with the least error; the largest of those that rounding cannot tell apart, None where there is none."""
    found = list(errors)
    least = min((error for _, error in found), default=None)
    return None if least is None else next(penalty for penalty, error in found if error <= least * (1 + 1e-9) + 1e-12)


def errors_of_sums(fit: Products, held: Products) -> Iterator[tuple[float, float]]:
    """(penalty, held-out squared error) from statistics alone: a system of the size of the projection for each."""
    for penalty in GRID:
        factor = fit.factor(penalty)
        if factor is None:
            return  # smaller ones are below the rounding too
        yield penalty, held.squared_error(torch.cholesky_solve(fit.sums.T, factor))


def errors_of_samples(project: Project, m: int, features: Tensor, labels: Tensor) -> Iterator[tuple[float, float]]:
    """The same from samples fewer than the projection has dimensions: a system of their number for each.

    W = H^T (H H^T + penalty * I)^-1 Y, so that held-out predictions are H2 H^T (H H^T + penalty * I)^-1 Y.
    """
    held = held_out(features)
    targets = torch.nn.functional.one_hot(labels.unique(return_inverse=True)[1]).double()
    fit = features[~held]
    inner = torch.zeros(len(fit), len(fit), dtype=torch.float64, device=features.device)
    across = inner.new_zeros(len(features) - len(fit), len(fit))
    for start in range(0, m, COLUMNS):
        columns = slice(start, min(start + COLUMNS, m))
        rows = project(fit, columns)
        inner += product(rows.T)
        across.addmm_(project(features[held], columns), rows.T)
    for penalty in GRID:
        matrix = inner.clone()
        matrix.diagonal().add_(penalty)
        factor, info = torch.linalg.cholesky_ex(matrix)
        if int(info):
            return
        predicted = across @ torch.cholesky_solve(targets[~held], factor)
        yield penalty, float((targets[held] - predicted).square().sum())
