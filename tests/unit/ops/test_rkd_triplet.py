"""rkd_triplet: against unit vectors in float64, far from the origin, with equal samples; memory, threads and compilers."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hdx.ops import dispatch
from hdx.ops import rkd_triplet as ops
from hdx.ops.rkd_triplet import rkd_triplet
from tests.unit.ops.forms import both_ways, poisoned, same_for_any_number_of_threads


@pytest.fixture(params=["composite", "native"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "native":
        request.getfixturevalue("native")
        yield "native"
    else:
        with dispatch.using(request.param):
            yield request.param


def drawn(n: int, dtype: torch.dtype = torch.float64, d: int = 5, e: int = 9) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n)
    student, teacher = (torch.randn(n, size, generator=generator, dtype=dtype) for size in (d, e))
    if n >= 7:
        student[3], teacher[5] = student[1], teacher[2]
    return student, teacher


def in_float64(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    return both_ways(lambda x: ops.reference(x, teacher.double()), student.double())


@pytest.mark.parametrize("n", [0, 1, 2, 3, 7, 16, 41])
def test_reference(form: str, n: int) -> None:
    student, teacher = drawn(n)
    found = both_ways(lambda x: rkd_triplet(x, teacher), student)
    torch.testing.assert_close(found, in_float64(student, teacher), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("d", [2, 33, 512])
def test_float32_is_no_further_off_than_unit_vectors(form: str, d: int, offset: float) -> None:
    student, teacher = (z + offset for z in drawn(24, torch.float32, d, 2 * d))
    right = in_float64(student, teacher)
    plain = both_ways(lambda x: ops.reference(x, teacher), student)
    found = both_ways(lambda x: rkd_triplet(x, teacher), student)
    for ours, theirs, truth in zip(found, plain, right):
        scale = truth.abs().max()
        assert (ours - truth).abs().max() <= (theirs - truth).abs().max() + 1e-5 * scale


def test_gradients_are_those_of_the_values(form: str) -> None:
    student, teacher = drawn(6)
    student.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: rkd_triplet(x, teacher), (student,))


def test_what_angles_do_not_see(form: str) -> None:
    """Scale and place of either model's features; the gradient is across both."""
    student, teacher = drawn(12)
    values, gradient = both_ways(lambda x: rkd_triplet(x, teacher), student)
    torch.testing.assert_close(rkd_triplet(3 * student + 5, 0.1 * teacher - 2), values)
    assert gradient.sum(0).abs().max() < 1e-12
    weighted = both_ways(lambda x: rkd_triplet(x, teacher).mean().expand(1), student)[1]
    assert (weighted * student).sum().abs() < 1e-12
    assert rkd_triplet(student, student).abs().max() < 1e-24


def test_equal_samples_have_no_gradient(form: str) -> None:
    student = torch.ones(4, 3)
    student[3] = 2
    values, gradient = both_ways(lambda x: rkd_triplet(x, torch.randn(4, 5)), student)
    assert values.isfinite().all() and gradient.isfinite().all()


def test_strided_rows_sixteen_bits_and_memory_that_was_not_empty(form: str) -> None:
    student, teacher = drawn(9, torch.bfloat16)
    wide = both_ways(lambda x: rkd_triplet(x, teacher.float()), student.float())
    values, gradient = both_ways(lambda x: rkd_triplet(x, teacher), student)
    assert torch.equal(values, wide[0]) and torch.equal(gradient, wide[1].bfloat16())
    across = student.float().T.contiguous().T
    with poisoned():
        found = both_ways(lambda x: rkd_triplet(x, teacher.float().repeat(1, 2)[:, :9]), across)
    torch.testing.assert_close(found, wide)


def test_the_same_bits_for_any_number_of_threads(native: None) -> None:
    student, teacher = drawn(70, torch.float32, 40, 50)
    assert same_for_any_number_of_threads(lambda: both_ways(lambda x: rkd_triplet(x, teacher), student))


def test_nan_is_not_hidden(form: str) -> None:
    student, teacher = drawn(6, torch.float32)
    student[2, 1] = torch.nan
    values, gradient = both_ways(lambda x: rkd_triplet(x, teacher), student)
    assert values.isnan().any() and gradient.isnan().any()


def test_compiled(form: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(rkd_triplet, fullgraph=True, dynamic=True, backend="eager")
    for n in (6, 11):
        student, teacher = drawn(n, torch.float32)
        found = both_ways(lambda x: compiled(x, teacher), student)  # noqa: B023
        torch.testing.assert_close(found, both_ways(lambda x: rkd_triplet(x, teacher), student))  # noqa: B023


def test_registration(native: None) -> None:
    for dtype in (torch.float32, torch.float64):
        student, teacher = drawn(7, dtype)
        torch.library.opcheck(torch.ops.hdx.rkd_triplet.default, (student, teacher))
        _, *squares = torch.ops.hdx.rkd_triplet(student, teacher)
        torch.library.opcheck(torch.ops.hdx.rkd_triplet_backward.default, (torch.ones(7, dtype=dtype), student, *squares))


def test_shapes_are_checked() -> None:
    with pytest.raises(ValueError, match=r"got \[3, 5\] and \[2, 5\]"):
        rkd_triplet(torch.zeros(3, 5), torch.zeros(2, 5))
