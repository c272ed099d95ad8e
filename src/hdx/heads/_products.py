"""Sums over samples for ridge regression in many dimensions: H^T H as one packed triangle, H^T Y and counts, in float64."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

log = logging.getLogger(__name__)

PANEL = 512  # rows of the triangle that are one product: with M = 10,000, 53 % of the full matrix is computed and kept


def packed_size(m: int) -> int:
    """Numbers in the packed triangle of an M x M matrix, about M^2 / 2 + 256 M."""
    return sum(min(PANEL, m - start) * min(start + PANEL, m) for start in range(0, m, PANEL))


@dataclass
class Products:
    """Sums over some samples with rows h of H; every method but `empty` and `solve` works in place.

    Attributes:
        triangle: packed lower triangle of H^T H [M, M]: panels of `PANEL` rows up to and with their diagonal block.
        sums: [C, M], sum of h per class (H^T Y transposed).
        counts: [C] int64.
    """

    triangle: Tensor
    sums: Tensor
    counts: Tensor

    @classmethod
    def empty(cls, m: int, n_classes: int, device: torch.device | None = None) -> Products:
        """No samples."""
        triangle = torch.zeros(packed_size(m), dtype=torch.float64, device=device)
        sums = torch.zeros(n_classes, m, dtype=torch.float64, device=device)
        return cls(triangle, sums, torch.zeros(n_classes, dtype=torch.int64, device=device))

    def panels(self) -> Iterator[tuple[int, int, Tensor]]:
        """(first row, end row, panel [rows, end row]) that share memory with the triangle."""
        m, used = self.sums.shape[1], 0
        for start in range(0, m, PANEL):
            end = min(start + PANEL, m)
            size = (end - start) * end
            yield start, end, self.triangle[used : used + size].view(end - start, end)
            used += size

    def add(self, rows: Tensor, labels: Tensor) -> None:
        """Take in rows H [n, M] float64 with labels [n]."""
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        self.sums.index_add_(0, labels, rows)
        for start, end, panel in self.panels():
            panel.addmm_(rows[:, start:end].T, rows[:, :end])

    def merge(self, other: Products) -> None:
        """Add the samples of another one over the same classes."""
        self.triangle += other.triangle
        self.sums += other.sums
        self.counts += other.counts

    def expand(self, n_new: int) -> None:
        """Make room for further classes."""
        self.sums = torch.cat([self.sums, self.sums.new_zeros(n_new, self.sums.shape[1])])
        self.counts = torch.cat([self.counts, self.counts.new_zeros(n_new)])

    def factor(self, penalty: float) -> Tensor | None:
        """Cholesky factor of H^T H + penalty * I, or None where that is not positive definite in float64."""
        m = self.sums.shape[1]
        matrix = self.triangle.new_zeros(m, m)
        for start, end, panel in self.panels():
            matrix[start:end, :end] = panel
        matrix.diagonal().add_(penalty)
        info = torch.empty(0, dtype=torch.int32, device=matrix.device)
        torch.linalg.cholesky_ex(matrix.T, upper=True, out=(matrix.T, info))  # over itself, in LAPACK's order
        return matrix if int(info) == 0 else None

    def solve(self, penalty: float) -> Tensor:
        """Weights [M, C] of ridge regression; a penalty below the rounding of H^T H is raised tenfold until it is not."""
        while (factor := self.factor(penalty)) is None:
            log.info("ridge %.0e is below the rounding of the Gram matrix: ten times as much is taken", penalty)
            penalty *= 10
        return torch.cholesky_solve(self.sums.T, factor)

    def squared_error(self, weights: Tensor) -> float:
        """||Y - H W||^2 over these samples, of weights [M, C]."""
        inner = sum(self._panel_form(weights, *panel) for panel in self.panels())
        return float(self.counts.sum()) - 2 * float((weights.T * self.sums).sum()) + float(inner)

    @staticmethod
    def _panel_form(weights: Tensor, start: int, end: int, panel: Tensor) -> float:
        own = weights[start:end]
        below = (own * (panel[:, :start] @ weights[:start])).sum()
        return float(2 * below + (own * (panel[:, start:] @ own)).sum())
