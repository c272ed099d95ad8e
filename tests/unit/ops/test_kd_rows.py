"""kd_rows beyond its formulas (tests/oracle/test_distillation_losses.py): each term, memory, threads, compilers, bad input."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from hdx.ops import dispatch
from hdx.ops import kd_rows as ops
from hdx.ops.kd_rows import kd_rows
from tests.unit.ops.forms import both_ways, poisoned, same_for_any_number_of_threads

TERMS = ("ce", "teacher_ce", "kd", "target", "non_target", "non_target_ce")
ALL = {"temperature": 4.0, "ce": 0.5, "teacher_ce": 0.7, "kd": 1.1, "target": 0.9, "non_target": 2.0, "non_target_ce": 0.3}


@pytest.fixture(params=["composite", "native"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "native":
        request.getfixturevalue("native")
        yield "native"
    else:
        with dispatch.using(request.param):
            yield request.param


def drawn(rows: int, n_classes: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(rows * n_classes)
    student, teacher = (3 * torch.randn(rows, n_classes, generator=generator, dtype=dtype) for _ in range(2))
    labels = torch.randint(n_classes, (rows,), generator=generator)
    labels[1:2] = -1
    return student, teacher, labels


@pytest.mark.parametrize("temperature", [1.0, 2.0, 3.0, 4.0])
@pytest.mark.parametrize("n_classes", [1, 2, 15, 16, 17, 32, 1025, 2100])
def test_each_term_is_that_of_the_reference(form: str, n_classes: int, temperature: float) -> None:
    """Sizes about the lanes and blocks of the C++, temperatures with and without an exponential of their own."""
    student, teacher, labels = drawn(7, n_classes)
    labels[:4] = torch.tensor([0, -1, n_classes - 1, n_classes // 16 * 16 - 1]).clamp(max=n_classes - 1)
    for term in TERMS:
        options = {"temperature": temperature, term: 1.3}
        found = both_ways(lambda x: kd_rows(x, teacher, labels, **options), student)  # noqa: B023
        with dispatch.using("reference"):
            right = both_ways(lambda x: kd_rows(x, teacher, labels, **options), student)  # noqa: B023
        torch.testing.assert_close(found, right, rtol=1e-10, atol=1e-11)


def test_gradients_are_those_of_the_values_and_have_none_of_their_own(form: str) -> None:
    student, teacher, labels = drawn(4, 19)
    student.requires_grad_(True)
    assert torch.autograd.gradcheck(lambda x: kd_rows(x, teacher, labels, **ALL), (student,))
    (gradient,) = torch.autograd.grad(kd_rows(student, teacher, labels, **ALL).sum(), student, create_graph=True)
    assert not gradient.requires_grad


def test_the_teacher_gets_no_gradient(form: str) -> None:
    student, teacher, labels = drawn(4, 19)
    teacher.requires_grad_(True)
    assert not kd_rows(student, teacher, labels, **ALL).requires_grad
    kd_rows(student.requires_grad_(True), teacher, labels, **ALL).sum().backward()
    assert teacher.grad is None and student.grad is not None


@pytest.mark.parametrize("n_classes", [1, 17, 1000])
def test_strided_rows_and_memory_that_was_not_empty(form: str, n_classes: int) -> None:
    student, teacher, labels = drawn(7, n_classes, torch.float32)
    right = both_ways(lambda x: kd_rows(x, teacher, labels, **ALL), student)
    far = torch.cat([student, torch.full((7, 3), torch.nan)], 1)[:, :n_classes]
    across = teacher.T.contiguous().T
    with poisoned():
        for s, t in ((far, teacher), (student, across), (far, across), (student.expand(7, n_classes), teacher)):
            found = both_ways(lambda x: kd_rows(x, t, labels, **ALL), s)  # noqa: B023
            assert all(map(torch.equal, found, right))
        every_second = both_ways(lambda x: kd_rows(x[::2], teacher[::2], labels[::2], **ALL), student)
    with_labels = kd_rows(student[::2].contiguous(), teacher[::2].contiguous(), labels[::2].contiguous(), **ALL)
    assert torch.equal(every_second[0], with_labels)
    assert (every_second[1][1::2] == 0).all()


def test_the_same_bits_for_any_number_of_threads(native: None) -> None:
    student, teacher, labels = drawn(97, 1500, torch.float32)
    assert same_for_any_number_of_threads(lambda: both_ways(lambda x: kd_rows(x, teacher, labels, **ALL), student))


def test_rows_do_not_depend_on_the_batch(native: None) -> None:
    student, teacher, labels = drawn(9, 700, torch.float32)
    whole = kd_rows(student, teacher, labels, **ALL)
    alone = [kd_rows(student[i : i + 1], teacher[i : i + 1], labels[i : i + 1], **ALL) for i in range(9)]
    assert torch.equal(whole, torch.cat(alone))


def test_classes_ruled_out(form: str) -> None:
    """At -inf in both they are as if they were not there; at -inf in the student alone the loss is infinite."""
    student, teacher, labels = drawn(7, 40)
    labels[labels > 29] = 3
    kept = both_ways(lambda x: kd_rows(x, teacher[:, :30], labels, **ALL), student[:, :30])
    for z in (student, teacher):
        z[:, 30:] = -torch.inf
    values, gradient = both_ways(lambda x: kd_rows(x, teacher, labels, **ALL), student)
    torch.testing.assert_close((values, gradient[:, :30]), kept)
    assert (gradient[:, 30:] == 0).all()
    teacher[0, 35] = 0.0
    values = kd_rows(student, teacher, labels, **ALL)
    assert values[0] == torch.inf and values[1:].isfinite().all()
    assert kd_rows(student, teacher, labels, ce=1.0)[0].isfinite()  # a term of weight 0 is left out


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("place", [0, 5, 36])
def test_nan_is_not_hidden(form: str, place: int, side: int) -> None:
    pair = drawn(3, 37, torch.float32)
    pair[2][0] = 5
    pair[side][0, place] = torch.nan
    values, gradient = both_ways(lambda x: kd_rows(x, pair[1], pair[2], **ALL), pair[0])
    assert values[0].isnan() and values[1:].isfinite().all()
    assert gradient[0].isnan().any() and gradient[1:].isfinite().all()


@pytest.mark.parametrize("gap", [50.0, 1e3, 1e4])
def test_certain_of_the_target_both_learn_the_other_classes(form: str, gap: float) -> None:
    """p_y is 1 in float32, and KL(q' || p') and its gradient are as if the target were not there."""
    student, teacher, _ = drawn(5, 21, torch.float32)
    labels = torch.full((5,), 20)
    rest = both_ways(lambda x: kd_rows(x, teacher[:, :20], labels * 0, kd=1.0), student[:, :20])
    certain = [torch.cat([z[:, :20], gap + z[:, 20:]], 1) for z in (student, teacher)]
    values, gradient = both_ways(lambda x: kd_rows(x, certain[1], labels, non_target=1.0), certain[0])
    torch.testing.assert_close((values, gradient[:, :20]), rest, rtol=1e-5, atol=1e-6)
    assert (gradient[:, 20] == 0).all()
    assert kd_rows(certain[0], certain[1], labels, target=1.0, kd=1.0, ce=1.0).abs().max() < 1e-6


def test_compiled(form: str) -> None:
    torch.compiler.reset()
    compiled = torch.compile(kd_rows, fullgraph=True, dynamic=True, backend="eager")
    for rows, n_classes in ((7, 33), (5, 100)):
        student, teacher, labels = drawn(rows, n_classes, torch.float32)
        found = both_ways(lambda x: compiled(x, teacher, labels, **ALL), student)  # noqa: B023
        right = both_ways(lambda x: kd_rows(x, teacher, labels, **ALL), student)  # noqa: B023
        torch.testing.assert_close(found, right)


def test_registration(native: None) -> None:
    for dtype in (torch.float32, torch.float64):
        student, teacher, labels = drawn(3, 19, dtype)
        torch.library.opcheck(torch.ops.hdx.kd_rows.default, (student, teacher, labels, *ALL.values()))
        _, rows, targets = torch.ops.hdx.kd_rows(student, teacher, labels, *ALL.values())
        upstream = torch.ones(3, dtype=dtype)
        torch.library.opcheck(torch.ops.hdx.kd_rows_backward.default, (upstream, student, teacher, targets, rows, 4.0))


def test_labels_out_of_range_are_refused(form: str) -> None:
    student, teacher, labels = drawn(3, 19)
    labels[2] = 19
    with pytest.raises(RuntimeError, match="out of (range|bounds)"):
        kd_rows(student, teacher, labels, ce=1.0)


def test_shapes_and_temperature_are_checked() -> None:
    student, teacher, labels = drawn(3, 19)
    with pytest.raises(ValueError, match=r"got \[3, 19\], \[3, 18\] and \[3\]"):
        kd_rows(student, teacher[:, :18], labels, kd=1.0)
    with pytest.raises(ValueError, match="temperature > 0, got 0.0"):
        kd_rows(student, teacher, labels, kd=1.0, temperature=0.0)
    with pytest.raises(ValueError, match="C >= 1"):
        kd_rows(student[:, :0], teacher[:, :0], labels, kd=1.0)


def test_bench_cases(native: None) -> None:
    """Each form of a case computes the same gradient."""
    case = next(iter(ops.cases("cpu")))
    found = {name: run() for name, run in case.forms.items()}
    assert list(found) == ["eager", "composite", "native"]
    for gradient in found.values():
        torch.testing.assert_close(gradient, found["eager"], rtol=1e-4, atol=1e-8)
