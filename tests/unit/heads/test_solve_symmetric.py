"""Symmetric solves and eigenvectors where the library's first algorithm gives up."""

from __future__ import annotations

import pytest
import torch

from hdx.heads._solve import eigh, solve_symmetric


def gives_up(matrix: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    raise torch.linalg.LinAlgError("linalg.eigh: The algorithm failed to converge")


@pytest.mark.parametrize("shape", [(6, 6), (3, 6, 6)])
def test_eigenvectors_without_divide_and_conquer(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    half = torch.randn(shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    matrix = half @ half.mT
    values, _ = torch.linalg.eigh(matrix)
    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    found, vectors = eigh(matrix)
    torch.testing.assert_close(found, values)
    torch.testing.assert_close(vectors @ torch.diag_embed(found) @ vectors.mT, matrix)


def test_a_singular_system_has_its_least_norm_solution(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two samples in eight dimensions, by the pseudo-inverse, whichever algorithm gives the eigenvectors."""
    samples = torch.randn(2, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    matrix, right = samples.T @ samples, samples.T @ torch.ones(2, 3, dtype=torch.float64)
    wanted = torch.linalg.pinv(matrix) @ right
    torch.testing.assert_close(solve_symmetric(matrix, right), wanted)
    monkeypatch.setattr(torch.linalg, "eigh", gives_up)
    torch.testing.assert_close(solve_symmetric(matrix, right), wanted)
