"""Distillation of logits against the formula in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax
from torch.nn import functional as F

from hdx.losses._distillation import distillation


def pair(scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return tuple(scale * torch.randn(6, 5, dtype=torch.float64, generator=generator) for _ in range(2))  # type: ignore[return-value]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 8.0])
def test_formula(temperature: float) -> None:
    student, teacher = pair()
    p, q = (softmax(z.numpy() / temperature, axis=1) for z in (teacher, student))
    expected = temperature**2 * rel_entr(p, q).sum(1)
    np.testing.assert_allclose(distillation(student, teacher, temperature).numpy(), expected, rtol=1e-10)


def test_the_gradient_is_that_of_the_cross_entropy_with_soft_targets_times_t2() -> None:
    student, teacher = pair()
    student.requires_grad_(True)
    teacher.requires_grad_(True)
    distillation(student, teacher, 2.0).sum().backward()
    p, q = (softmax(z.detach().numpy() / 2, axis=1) for z in (teacher, student))
    np.testing.assert_allclose(student.grad.numpy(), 4 * (q - p) / 2, atol=1e-12)  # type: ignore[union-attr]
    assert teacher.grad is None
    soft = -4 * torch.from_numpy(
        softmax(teacher.detach().numpy() / 2, axis=1) * log_softmax(student.detach().numpy() / 2, axis=1)
    )
    entropy = soft.sum(1) - distillation(student, teacher, 2.0).detach()
    np.testing.assert_allclose(entropy.numpy(), -4 * (p * np.log(p)).sum(1), rtol=1e-10)


def test_a_student_equal_to_its_teacher_up_to_a_constant_loses_nothing() -> None:
    student, _ = pair()
    torch.testing.assert_close(distillation(student + 7, student, 2.0), torch.zeros(6, dtype=torch.float64))


def test_classes_that_the_teacher_rules_out_ask_nothing_of_the_student() -> None:
    student, teacher = pair()
    teacher[:, 1] = -torch.inf
    both = student.clone()
    both[:, 1] = -torch.inf
    kept = [0, 2, 3, 4]
    both.requires_grad_(True)
    losses = distillation(both, teacher, 2.0)
    torch.testing.assert_close(losses, distillation(student[:, kept], teacher[:, kept], 2.0))
    losses.sum().backward()
    assert both.grad is not None and both.grad.isfinite().all() and (both.grad[:, 1] == 0).all()
    student.requires_grad_(True)
    distillation(student, teacher, 2.0).sum().backward()
    assert student.grad is not None and student.grad.isfinite().all() and (student.grad[:, 1] > 0).all()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bit_logits_are_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = (z.to(dtype) for z in pair(10.0))
    losses = distillation(student, teacher, 2.0)
    assert losses.dtype == torch.float32 and losses.shape == (6,)
    expected = F.kl_div(
        (student.double() / 2).log_softmax(1), (teacher.double() / 2).log_softmax(1), reduction="none", log_target=True
    )
    torch.testing.assert_close(losses.double(), 4 * expected.sum(1), rtol=1e-4, atol=1e-5)


def test_one_class_has_nothing_to_distil() -> None:
    student, teacher = pair()
    assert (distillation(student[:, :1], teacher[:, :1], 2.0) == 0).all()
