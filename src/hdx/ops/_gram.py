"""Gram matrices of rows: in float64, or in float32 where that changes nothing that matters.

A float32 product of n rows Z rounds Z^T Z by an error E. What it does to a solution with S = scatter/n + floor * I is the size
of M = (n S)^(-1/2) E (n S)^(-1/2): small where S is regular, anything where S is nearly singular. `rounding` measures it for
a block of rows, and only blocks below `TOLERANCE` pass; scatter matrices add up, so what holds for every block holds for
their sum.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

CHUNK = 2048  # rows of one float32 product: longer sums lose more digits, shorter ones more time
TOLERANCE = 1e-5  # of S in every direction
PROBES = 8


def product(rows: Tensor) -> Tensor:
    """rows^T rows [D, D] of rows [n, D], in their precision.

    On a CPU by numpy, which takes a matrix times its own transpose to the BLAS routine `syrk`: half of a general product.
    """
    if rows.device.type != "cpu":
        return rows.T @ rows
    values = rows.detach().numpy()
    return torch.from_numpy(values.T @ values)


def gram_by_blas(features: Tensor, pivot: Tensor) -> Tensor:
    """Gram matrix [D, D] float64 of features [n, D] about a float32 pivot [D], by float32 products of `CHUNK` rows."""
    total = torch.zeros(len(pivot), len(pivot), dtype=torch.float64)
    for part in features.split(CHUNK):
        total += product(part.float() - pivot)
    return total


def probe_by_blas(features: Tensor, pivot: Tensor, probes: Tensor) -> Tensor:
    """The same rows, features less pivot, times probes [K, D] float64: [n, K] float64."""
    parts = [probes @ (part.float() - pivot).double().T for part in features.split(CHUNK // 2)]
    return torch.cat(parts, 1).T


class Products(NamedTuple):
    """How rows about a pivot are multiplied: `gram` as `gram_by_blas` does it, `probe` as `probe_by_blas` does."""

    gram: Callable[[Tensor, Tensor], Tensor]
    probe: Callable[[Tensor, Tensor, Tensor], Tensor]


BLAS = Products(gram_by_blas, probe_by_blas)


def rounding(
    gram: Tensor, sums: Tensor, counts: Tensor, floor: float, rows: Tensor, pivot: Tensor, probe: Callable = probe_by_blas
) -> float:
    """Frobenius norm of M, estimated to about a third; infinite where the scatter is singular to float32.

    The scatter within classes bounds that about any common point from below, so it stands for both. With its Cholesky factor
    L and g from N(0, I), u = L^-T g gives u^T E u = g^T M g, whose mean square is at least 2 ||M||_F^2; and u^T E u is what
    the Gram matrix says of u less what the rows say.

    Args:
        gram: [D, D] float64, sum of float32 products of `rows - pivot`, about the pivot.
        sums: [C, D] float64 about the pivot.
        counts: [C] int64.
        floor: what is added to the diagonal of the covariance (per sample).
        rows: [n, D] float32.
        pivot: [D] float32.
        probe: see `Products`.
    """
    seen = counts > 0
    within = gram - (sums[seen] / counts[seen, None]).T @ sums[seen]
    within.diagonal().add_(floor * len(rows))
    factor, info = torch.linalg.cholesky_ex(within.float())  # to a few digits: what counts is that both sides see one u
    if int(info):
        return float("inf")
    drawn = torch.randn(len(gram), PROBES, generator=torch.Generator().manual_seed(0))
    probes = torch.linalg.solve_triangular(factor.T, drawn, upper=True).double()  # [D, PROBES]
    seen_by_rows = probe(rows, pivot, probes.T.contiguous()).square().sum(0)
    seen_by_gram = (probes * (gram @ probes)).sum(0)
    return float((seen_by_gram - seen_by_rows).square().mean().div(2).sqrt())
