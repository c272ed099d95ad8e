"""What the heads with a covariance share: a solve that takes singular matrices, and the dual form for few samples."""

from __future__ import annotations

import logging

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def solve_symmetric(matrix: Tensor, right: Tensor) -> Tensor:
    """X with matrix X = right, for a positive semi-definite [D, D] float64 matrix; the least-norm one where it is singular."""
    factor, info = torch.linalg.cholesky_ex(matrix)
    diagonal = factor.diagonal()
    # the squared ratio bounds the condition number from below; past 1/(D eps) a factor is rounding noise
    limit = len(matrix) * torch.finfo(matrix.dtype).eps
    if int(info) == 0 and bool(diagonal.min().square() > limit * diagonal.max().square()):
        return torch.cholesky_solve(right, factor)
    values, vectors = eigh(matrix)
    keep = values > limit * values.abs().max()
    log.info("covariance of rank %d < %d features, pseudo-inverse used (head.ridge > 0 avoids it)", keep.sum(), len(matrix))
    inverse = torch.where(keep, 1 / values.where(keep, torch.ones_like(values)), 0.0)
    return vectors @ (inverse[:, None] * (vectors.T @ right))


def eigh(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues [..., D], ascending, and vectors [..., D, D] of symmetric matrices.

    Divide and conquer, which torch takes, gives up on some matrices of many equal eigenvalues (a covariance of few samples, on
    some processors); the QR iteration does not.
    """
    try:
        values, vectors = torch.linalg.eigh(matrix)
        return values, vectors
    except torch.linalg.LinAlgError:
        from scipy.linalg import eigh as by_qr

        each = matrix.detach().cpu().reshape(-1, *matrix.shape[-2:]).numpy()
        found = [by_qr(one, driver="ev") for one in each]
        values, vectors = (torch.stack([torch.from_numpy(pair[i]) for pair in found]).to(matrix) for i in (0, 1))
        return values.view(matrix.shape[:-1]), vectors.view(matrix.shape)


def solve_few(samples: Tensor, ridge: float, right: Tensor) -> Tensor:
    """Rows [E, W, D] of right (Z^T Z + ridge I)^-1 for the few samples Z of each of E episodes, by systems of their number.

    (Z^T Z + r I)^-1 = (I - Z^T (Z Z^T + r I)^-1 Z) / r (Woodbury): S x S matrices in place of D x D ones.

    Args:
        samples: Z [E, S, D] float64.
        ridge: r > 0.
        right: [E, W, D] float64.
    """
    gram = samples @ samples.transpose(1, 2)  # [E, S, S]
    gram.diagonal(dim1=1, dim2=2).add_(ridge)
    inside = torch.linalg.solve(gram, samples @ right.transpose(1, 2))  # [E, S, W]
    return (right - inside.transpose(1, 2) @ samples) / ridge
