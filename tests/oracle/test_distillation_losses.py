"""Losses with a teacher against their papers' formulas, row by row in float64: values and gradients, in every form of the ops."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from tests.unit.ops.conftest import cpu_library, native  # noqa: F401
from torch import Tensor
from torch.nn import functional as F

from hdx.losses._base import DistillationLoss, Outputs
from hdx.losses.dkd import DKD
from hdx.losses.kd import KD
from hdx.losses.nkd import NKD
from hdx.losses.rkd import RKD
from hdx.ops import dispatch

T_VALUES = (1.0, 4.0, 20.0)
Row = Callable[[Tensor, Tensor, int, float], Tensor]


@pytest.fixture(params=["reference", "composite", "native"])
def form(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "native":
        request.getfixturevalue("native")
        yield "native"
    else:
        with dispatch.using(request.param):
            yield request.param


def log_softmax(z: Tensor) -> Tensor:
    return z - z.logsumexp(0)


def kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    asked = log_q > -torch.inf
    return (log_q[asked].exp() * (log_q[asked] - log_p[asked])).sum()


def cross_entropy(s: Tensor, y: int) -> Tensor:
    return -log_softmax(s)[y] if y >= 0 else s[:0].sum()


def split(z: Tensor, y: int) -> tuple[Tensor, Tensor]:
    """log (p_y, 1 - p_y), and the logits of the other classes that are not ruled out."""
    others = torch.cat([z[:y], z[y + 1 :]])
    others = others[others > -torch.inf]
    whole = z.logsumexp(0)
    rest = others.logsumexp(0) if len(others) else torch.tensor(-torch.inf, dtype=z.dtype)
    return torch.stack([z[y], rest]) - whole, others


def kd(s: Tensor, t: Tensor, y: int, temperature: float) -> Tensor:
    divergence = kl(log_softmax(t / temperature), log_softmax(s / temperature))
    return 0.1 * cross_entropy(s, y) + 0.9 * temperature**2 * divergence


def dkd(s: Tensor, t: Tensor, y: int, temperature: float) -> Tensor:
    (own, own_rest), (asked, asked_rest) = (split(z / temperature, y if y >= 0 else int(t.argmax())) for z in (s, t))
    non_target = kl(log_softmax(asked_rest), log_softmax(own_rest)) if len(asked_rest) else 0.0
    return cross_entropy(s, y) + temperature**2 * (kl(asked, own) + 8 * non_target)


def nkd(s: Tensor, t: Tensor, y: int, temperature: float) -> Tensor:
    target = y if y >= 0 else int(t.argmax())
    (_, own_rest), (_, asked_rest) = (split(z / temperature, target) for z in (s, t))
    other = (log_softmax(asked_rest).exp() * log_softmax(own_rest)).sum() if len(asked_rest) else 0.0
    t_y = log_softmax(t)[target].exp()
    return cross_entropy(s, y) + t_y * cross_entropy(s, target) - 1.5 * temperature**2 * other


def losses(temperature: float) -> dict[str, tuple[DistillationLoss, Row]]:
    return {
        "kd": (KD(temperature=temperature), kd),
        "dkd": (DKD(temperature=temperature), dkd),
        "nkd": (NKD(temperature=temperature), nkd),
    }


def logits(rows: int, n_classes: int, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """Student, teacher and labels, of which the second is missing."""
    generator = torch.Generator().manual_seed(n_classes)
    student, teacher = (3 * torch.randn(rows, n_classes, generator=generator) for _ in range(2))
    labels = torch.randint(n_classes, (rows,), generator=generator)
    labels[1:2] = -1
    if kind == "masked" and n_classes > 2:  # the same classes out of both, and none of them a label
        for z in (student, teacher):
            z[:, 1::3] = -torch.inf
        labels -= (labels % 3 == 1).long()
    if kind == "certain":
        target = torch.where(labels < 0, teacher.argmax(1), labels)[:, None]
        gaps = torch.tensor([10.0, 1e2, 1e3, 1e4]).repeat(2)[:rows, None]
        for z in (student, teacher):
            z.scatter_add_(1, target, gaps)
    if kind == "wide":
        student, teacher = student * 3e3, teacher * 3e3
    return student, teacher, labels


def both_ways(loss: DistillationLoss, student: Tensor, teacher: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Values [B], and gradients of their sum weighted by 1, 2, …"""
    student = student.clone().requires_grad_(True)
    values = loss.distill(Outputs(student), Outputs(teacher), labels, epoch=20)
    (gradient,) = torch.autograd.grad((values * torch.arange(1, len(values) + 1)).sum(), student)
    return values.detach(), gradient


def expected(row: Row, student: Tensor, teacher: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    student = student.double().requires_grad_(True)
    rows = [row(s, t, y, temperature) for s, t, y in zip(student, teacher.double(), labels.tolist())]
    values = torch.stack([torch.zeros((), dtype=torch.float64), *rows])[1:]
    total = (values * torch.arange(1, len(values) + 1)).sum() + 0 * student.nan_to_num(neginf=0).sum()
    return values.detach(), torch.autograd.grad(total, student)[0]


def error(found: Tensor, right: Tensor) -> float:
    """Largest error relative to the size of a row's values, or to 1 where that is smaller."""
    if not right.numel():
        return 0.0
    scale = right.abs().flatten(1).amax(1).clamp(min=1) if right.dim() > 1 else right.abs().clamp(min=1)
    difference = (found.double() - right).abs()
    return float((difference / (scale[:, None] if right.dim() > 1 else scale)).max())


@pytest.mark.parametrize("name", ["kd", "dkd", "nkd"])
@pytest.mark.parametrize("kind", ["plain", "masked", "certain", "wide"])
@pytest.mark.parametrize("n_classes", [1, 33, 100, 1000])
def test_float64(form: str, n_classes: int, kind: str, name: str) -> None:
    student, teacher, labels = logits(7, n_classes, kind)
    for temperature in T_VALUES:
        loss, row = losses(temperature)[name]
        values, gradient = expected(row, student, teacher, labels, temperature)
        found = both_ways(loss, student.double(), teacher.double(), labels)
        assert error(found[0], values) < 1e-12
        assert error(found[1], gradient) < 1e-10


@pytest.mark.parametrize("kind", ["plain", "masked", "certain", "wide"])
@pytest.mark.parametrize(("rows", "n_classes"), [(0, 33), (1, 1), (7, 1), (1, 33), (7, 100), (7, 1000), (2, 21843)])
def test_float32_is_no_further_off_than_eager(form: str, rows: int, n_classes: int, kind: str) -> None:
    """Eager is the reference form: the formulas in torch, with gradients by autograd."""
    student, teacher, labels = logits(rows, n_classes, kind)
    for temperature in T_VALUES:
        for loss, row in losses(temperature).values():
            right = expected(row, student, teacher, labels, temperature)
            found = both_ways(loss, student, teacher, labels)
            with dispatch.using("reference"):
                eager = both_ways(loss, student, teacher, labels)
            for ours, plain, truth in zip(found, eager, right):
                assert error(ours, truth) <= error(plain, truth) + 3e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_sixteen_bits_are_computed_in_float32(form: str, dtype: torch.dtype) -> None:
    student, teacher, labels = (z.to(dtype) if z.is_floating_point() else z for z in logits(7, 100, "plain"))
    for loss, _ in losses(4.0).values():
        values, gradient = both_ways(loss, student, teacher, labels)
        wide, wide_gradient = both_ways(loss, student.float(), teacher.float(), labels)
        assert values.dtype == torch.float32 and torch.equal(values, wide)
        assert gradient.dtype == dtype and torch.equal(gradient, wide_gradient.to(dtype))
        mixed, _ = both_ways(loss, student.float(), teacher, labels)  # logits from a cache
        assert torch.equal(mixed, wide)


def test_options() -> None:
    student, teacher, labels = (z.double() if z.is_floating_point() else z for z in logits(7, 33, "plain"))

    def of(loss: DistillationLoss, epoch: int = 1) -> Tensor:
        return loss.distill(Outputs(student), Outputs(teacher), labels, epoch)

    hard = F.cross_entropy(student, labels, reduction="none", ignore_index=-1)
    torch.testing.assert_close(of(KD(alpha=0.0)), hard)
    summed = of(KD(alpha=1.0))
    torch.testing.assert_close(of(KD(alpha=1.0, reduction="mean")), summed / 33)
    torch.testing.assert_close(of(KD(alpha=1.0, t2_scale=False)), summed / 16)
    both = of(DKD(ce=0.0), epoch=20)
    torch.testing.assert_close(of(DKD(ce=0.0), epoch=5), both / 4)
    torch.testing.assert_close(of(DKD(ce=0.0), epoch=30), both)
    torch.testing.assert_close(of(DKD(ce=0.0, warmup=0)), both)
    torch.testing.assert_close(of(DKD(), epoch=20), both + hard)
    torch.testing.assert_close(of(DKD(ce=0.0, t2_scale=False), epoch=20), both / 16)
    scaled = of(NKD(temperature=3.0)) - of(NKD(temperature=3.0, gamma=0.0))
    unscaled = of(NKD(temperature=3.0, t2_scale=False)) - of(NKD(temperature=3.0, gamma=0.0))
    torch.testing.assert_close(scaled, 9 * unscaled)
    torch.testing.assert_close(of(NKD()) - of(NKD(ce=0.0)), hard)


def test_kd_is_the_sum_of_dkd_with_the_teachers_weights() -> None:
    """KD = TCKD + (1 - q_y) NCKD, the identity that DKD starts from."""
    student, teacher, labels = (z.double() if z.is_floating_point() else z for z in logits(7, 33, "plain"))
    outputs = Outputs(student), Outputs(teacher), labels, 1
    target = DKD(ce=0.0, beta=0.0, warmup=0).distill(*outputs)
    non_target = DKD(ce=0.0, alpha=0.0, beta=1.0, warmup=0).distill(*outputs)
    y = torch.where(labels < 0, teacher.argmax(1), labels)[:, None]
    rest = 1 - (teacher / 4).softmax(1).gather(1, y)[:, 0]
    torch.testing.assert_close(KD(alpha=1.0).distill(*outputs), target + rest * non_target)


def relations(x: list[list[float]]) -> tuple[Tensor, Tensor]:
    """RKD's distances over their mean [B, B] and cosines [B, B, B], by loops."""
    points = torch.tensor(x, dtype=torch.float64)
    n = len(points)
    distances, cosines = torch.zeros(n, n, dtype=torch.float64), torch.zeros(n, n, n, dtype=torch.float64)
    for i in range(n):
        for j in range(n):
            a = points[j] - points[i]
            distances[i, j] = a.dot(a).sqrt()
            for k in range(n):
                b = points[k] - points[i]
                lengths = a.norm() * b.norm()
                cosines[i, j, k] = a.dot(b) / lengths if lengths > 0 else 0.0
    return distances / distances[distances > 0].mean(), cosines


def test_rkd(form: str) -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(6, d, generator=generator, dtype=torch.float64) for d in (4, 9))
    student[4], teacher[5] = student[1], teacher[2]  # pairs without a direction
    zeros, labels = torch.zeros(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, -1, 0, 1])
    (own_d, own_a), (asked_d, asked_a) = relations(student.tolist()), relations(teacher.tolist())

    def huber(x: Tensor) -> Tensor:
        return torch.where(x.abs() <= 1, x**2 / 2, x.abs() - 0.5)

    hard = torch.where(labels < 0, 0.0, torch.tensor(3.0, dtype=torch.float64).log())
    expected = hard + 25 * huber(own_d - asked_d).mean(1) + 50 * huber(own_a - asked_a).mean((1, 2))
    found = RKD().distill(Outputs(zeros, student), Outputs(zeros, teacher), labels, 1)
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-10)
    alone = RKD(distance=0.0, angle=0.0).distill(Outputs(zeros, student), Outputs(zeros, teacher), labels, 1)
    torch.testing.assert_close(alone, hard)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_rkd_of_few_or_equal_samples(form: str, rows: int) -> None:
    features = torch.ones(rows, 5, requires_grad=True)
    values = RKD().distill(
        Outputs(torch.zeros(rows, 3), features), Outputs(torch.zeros(rows, 3), features), torch.zeros(rows).long(), 1
    )
    values.sum().backward()
    assert values.shape == (rows,) and features.grad is not None and (features.grad == 0).all()


def test_rkd_gradient_of_the_distances() -> None:
    teacher = torch.randn(5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    student = torch.randn(5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2)).requires_grad_(True)
    zeros = torch.zeros(5, 2, dtype=torch.float64)
    loss = RKD(angle=0.0, ce=0.0)

    def values(features: Tensor) -> Tensor:
        return loss.distill(Outputs(zeros, features), Outputs(zeros, teacher), torch.zeros(5).long(), 1)

    assert torch.autograd.gradcheck(values, (student,))
