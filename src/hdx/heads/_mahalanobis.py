"""Squared Mahalanobis distances under many shrunk correlation matrices, dense ones or ones of few samples.

A covariance S of n samples in D dimensions has rank n - 1 at most. Shrunk, S + d I + b 1 1^T is then a multiple of the identity
and n columns K, whose inverse is (I - K G K^T) / d with G = (d J + K^T K)^-1 (Woodbury; J are the signs of the columns). A
distance costs D n and not D^2 products, and a class D n numbers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from hdx.heads._solve import eigh

AT_ONCE = 2**24  # float64 numbers held at once while distances are summed, 128 MB
SINGULAR = 1e-10  # of a correlation matrix's largest eigenvalue: what is less is rounding
FEW = 4  # columns are taken where a class has at most D / FEW samples


class Form(Protocol):
    """The inverses of c matrices [D, D]."""

    def distances(self, unit: Tensor, means: Tensor) -> Tensor:
        """[B, c] squared distances of rows [B, D] to means [c, D], in float64."""


@dataclass
class Dense:
    """Inverses in full, [c, D, D]; with c = 1 one for every mean."""

    precisions: Tensor

    @classmethod
    def of(cls, correlations: Tensor) -> Dense:
        """From matrices [c, D, D], which are overwritten; a singular one has its pseudo-inverse."""
        at_once = max(AT_ONCE // correlations.shape[1] ** 2, 1)
        for block in correlations.split(at_once):
            block.copy_(_inverse(block))
        return cls(correlations)

    def distances(self, unit: Tensor, means: Tensor) -> Tensor:
        """See `Form`."""
        at_once, found = max(AT_ONCE // max(unit.numel(), 1), 1), []
        for start in range(0, len(means), at_once):
            own = slice(start, start + at_once)
            differences = unit - means[own, None]  # [c, B, D]
            precisions = self.precisions if len(self.precisions) == 1 else self.precisions[own]
            found.append((differences @ precisions).mul_(differences).sum(2))
        return torch.cat(found).T


@dataclass
class Columns:
    """Diagonals and columns: the inverses are diag(weights) - sum_k rows_k rows_k^T + 2 rows_0 rows_0^T where `negative`.

    Attributes:
        weights: [c, D]; rows: [c, r, D]; negative: [c] bool.
    """

    weights: Tensor
    rows: Tensor
    negative: Tensor

    @classmethod
    def of(cls, covariances: Tensor, ranks: Tensor, level: Tensor, shift: Tensor) -> Columns:
        """The inverse correlations of S + shift 1 1^T + level I.

        Args:
            covariances: S [c, D, D], positive semidefinite; ranks: [c] int64, bounds on their ranks.
            level: [c], positive; shift: [c].
        """
        factors = torch.cat(
            [_factors(covariances, ranks), shift.abs().sqrt()[:, None, None].expand(-1, covariances.shape[1], 1)], 2
        )
        side = torch.ones_like(factors[:, 0])  # [c, r + 1]
        side[:, -1] = torch.where(shift < 0, -1.0, 1.0)
        inner = factors.transpose(1, 2) @ factors + torch.diag_embed(level[:, None] * side)
        values, vectors = eigh(torch.linalg.inv(inner))  # G; only the first can be negative, for the shift
        scale = (covariances.diagonal(dim1=1, dim2=2) + (level + shift)[:, None]).sqrt()  # [c, D]
        rows = (factors @ vectors * values.abs().sqrt()[:, None]).transpose(1, 2) * scale[:, None]
        return cls(scale.square() / level[:, None], rows / level.sqrt()[:, None, None], values[:, 0] < 0)

    def distances(self, unit: Tensor, means: Tensor) -> Tensor:
        """See `Form`."""
        found = unit.square() @ self.weights.T - 2 * (unit @ (self.weights * means).T)
        found += (self.weights * means.square()).sum(1)
        at_once = max(AT_ONCE // max(len(unit) * self.rows.shape[1], 1), 1)
        for start in range(0, len(means), at_once):
            own = slice(start, start + at_once)
            rows = self.rows[own]  # [c, r, D]
            offsets = (rows @ means[own, :, None]).flatten()
            sides = torch.addmm(-offsets, unit, rows.flatten(0, 1).T).view(len(unit), *rows.shape[:2])  # [B, c, r]
            found[:, own] -= torch.linalg.vector_norm(sides, dim=2).square_()
            found[:, own] += 2 * sides[:, :, 0].square() * self.negative[own]
        return found


def _factors(covariances: Tensor, ranks: Tensor) -> Tensor:
    """L [c, D, r] with L L^T = S to rounding: Cholesky's factors with the largest pivot first, of ranks that differ."""
    c, d, _ = covariances.shape
    left = covariances.diagonal(dim1=1, dim2=2).clone()  # of the diagonal
    noise = 1e-15 * d * left.amax(1)
    factors, each = covariances.new_zeros(c, d, int(ranks.max())), torch.arange(c, device=covariances.device)
    for k in range(factors.shape[2]):
        pivot, place = left.max(1)
        column = covariances[each, place] - (factors[:, :, :k] @ factors[each, place, :k, None])[..., 0]
        there = (pivot > noise) & (k < ranks)
        factors[:, :, k] = torch.where(there[:, None], column * pivot.clamp(min=1e-300).rsqrt()[:, None], 0.0)
        left = (left - factors[:, :, k].square()).clamp_(min=0)
        left[each, place] = 0.0
    return factors


def _inverse(matrices: Tensor) -> Tensor:
    """Inverses of symmetric [c, D, D] matrices; pseudo-inverses of singular ones."""
    factors, info = torch.linalg.cholesky_ex(matrices)
    diagonals = factors.diagonal(dim1=1, dim2=2)
    regular = (info == 0) & (diagonals.amin(1).square() > SINGULAR)
    inverses = torch.empty_like(matrices)
    inverses[regular] = torch.cholesky_inverse(factors[regular])
    inverses[~regular] = torch.linalg.pinv(matrices[~regular], rtol=SINGULAR, hermitian=True)
    return inverses
