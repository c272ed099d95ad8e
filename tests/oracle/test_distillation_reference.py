"""Losses of DHKD, USKD, SLA, DHO and hints against loops in float64 from the formulas: values, and gradients by differences."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from scipy.special import log_softmax, rel_entr, softmax

from hdx.heads.dual import Dual, mixed
from hdx.heads.rotations import Rotations, aggregated
from hdx.losses._base import Outputs
from hdx.losses._bkl import binary_kl
from hdx.losses._uskd import other_loss, squares, target_loss, weak_loss, zipf
from hdx.losses.cross_entropy import CrossEntropy
from hdx.losses.hint import Hint
from hdx.losses.kd import KD
from hdx.methods._align import aligned
from hdx.methods.sla import joint_losses

RNG = np.random.default_rng(0)
N, C = 7, 6
STUDENT, TEACHER = RNG.normal(size=(2, N, C)) * 3
WEAK = RNG.normal(size=(N, C)) * 2
LABELS = RNG.integers(0, C, N)


def tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.asarray(array))


def slopes(function: Callable[[np.ndarray], float], at: np.ndarray, step: float = 1e-6) -> np.ndarray:
    """The gradient of a function of an array by central differences."""
    found = np.zeros_like(at)
    for place in np.ndindex(at.shape):
        moved = [at.copy(), at.copy()]
        moved[0][place] += step
        moved[1][place] -= step
        found[place] = (function(moved[0]) - function(moved[1])) / (2 * step)
    return found


def gradient(loss: Callable[[torch.Tensor], torch.Tensor], at: np.ndarray) -> np.ndarray:
    x = tensor(at).clone().requires_grad_(True)
    loss(x).sum().backward()
    assert x.grad is not None
    return x.grad.numpy()


# --- DHKD ---------------------------------------------------------------------------------------------------------


def bkl_loop(student: np.ndarray, teacher: np.ndarray, t: float) -> list[float]:
    rows = []
    for s_row, t_row in zip(student, teacher):
        total = 0.0
        for s, wanted in zip(s_row, t_row):
            p = 1 / (1 + math.exp(-(s - wanted) / t))
            total += 0.5 * math.log(0.5 / p) + 0.5 * math.log(0.5 / (1 - p))
        rows.append(t * t * total)
    return rows


@pytest.mark.parametrize("temperature", [1.0, 2.0, 4.0, 20.0])
def test_binary_kl(temperature: float) -> None:
    ours = binary_kl(tensor(STUDENT), tensor(TEACHER), temperature)
    np.testing.assert_allclose(ours.numpy(), bkl_loop(STUDENT, TEACHER, temperature), rtol=1e-9)
    np.testing.assert_allclose(
        gradient(lambda s: binary_kl(s, tensor(TEACHER), temperature), STUDENT),
        slopes(lambda s: sum(bkl_loop(s, TEACHER, temperature)), STUDENT),
        rtol=1e-6,
        atol=1e-7,
    )
    unscaled = binary_kl(tensor(STUDENT), tensor(TEACHER), temperature, t2_scale=False)
    torch.testing.assert_close(unscaled * temperature**2, ours)


def test_binary_kl_far_from_and_at_the_teacher() -> None:
    far = torch.tensor([[900.0, -900.0, 0.0]], dtype=torch.float64, requires_grad=True)
    losses = binary_kl(far, torch.zeros(1, 3, dtype=torch.float64), 1.0)
    torch.testing.assert_close(losses, torch.tensor([2 * (450 - math.log(2))], dtype=torch.float64))
    losses.sum().backward()
    assert far.grad is not None and far.grad.tolist() == [[0.5, -0.5, 0.0]]


def test_a_class_that_the_teacher_rules_out_asks_nothing_of_the_auxiliary_head() -> None:
    teacher = tensor(TEACHER).clone()
    teacher[:, 2] = -torch.inf
    kept = [0, 1, 3, 4, 5]
    torch.testing.assert_close(
        binary_kl(tensor(STUDENT), teacher, 2.0), binary_kl(tensor(STUDENT[:, kept]), tensor(TEACHER[:, kept]), 2.0)
    )
    assert (gradient(lambda s: binary_kl(s, teacher, 2.0), STUDENT)[:, 2] == 0).all()


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_alignment_takes_out_what_goes_against_the_labels(sign: float) -> None:
    weight, shift = (tensor(RNG.normal(size=shape)).requires_grad_(True) for shape in ((3, 4), (3,)))
    x = tensor(RNG.normal(size=(5, 4)))
    out = torch.nn.functional.linear(x, weight, shift)
    other = tensor(RNG.normal(size=(2,))).requires_grad_(True)  # a parameter of the second loss alone
    main, auxiliary = (out.square()).sum(), sign * (out.square()).sum() * 0.7 + (out * 0.3).sum() + other.square().sum()
    parameters = [weight, shift, other]
    flat = []
    for loss in (main, auxiliary):
        parts = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
        flat.append(np.concatenate([np.zeros(p.numel()) if g is None else g.numpy().ravel() for p, g in zip(parameters, parts)]))
    g1, g2 = flat
    assert (g1 @ g2 < 0) == (sign < 0)
    expected = g1 + g2 if g1 @ g2 >= 0 else g1 + g2 - (g1 @ g2) / (g1 @ g1) * g1
    loss = aligned(main, auxiliary, parameters)
    loss.backward()
    np.testing.assert_allclose(float(loss.detach()), float((main + auxiliary).detach()), rtol=1e-12)
    np.testing.assert_allclose(np.concatenate([p.grad.numpy().ravel() for p in parameters]), expected, rtol=1e-9)  # type: ignore[union-attr]


def test_alignment_beside_a_loss_that_is_flat() -> None:
    weight = torch.ones(3, dtype=torch.float64, requires_grad=True)
    aligned((weight * 0).sum(), weight.sum(), [weight]).backward()
    assert weight.grad is not None and weight.grad.tolist() == [1, 1, 1]


# --- USKD ---------------------------------------------------------------------------------------------------------


def uskd_targets(logits: np.ndarray, weak: np.ndarray, labels: np.ndarray) -> tuple[list[float], list[list[float]]]:
    """P_y and z of every sample."""
    s, w = softmax(logits, axis=1), softmax(weak, axis=1)
    mean = sum(s[n, y] ** 2 for n, y in enumerate(labels)) / len(labels)
    of_label = [s[n, y] ** 2 + 1 - mean for n, y in enumerate(labels)]
    of_others = []
    for n, y in enumerate(labels):
        score = [w[n, c] / (1 - w[n, y] + 1e-6) + s[n, c] / (1 - s[n, y] + 1e-6) for c in range(s.shape[1])]
        z = [0.0] * len(score)
        for rank, c in enumerate(sorted(range(len(score)), key=lambda c: -score[c]), start=1):
            z[c] = 0.0 if c == y else 1 / rank
        of_others.append([value / sum(z) for value in z])
    return of_label, of_others


def uskd_loop(logits: np.ndarray, labels: np.ndarray, targets: tuple[list[float], list[list[float]]]) -> tuple[float, float]:
    """Sums over samples of L_t and L_n, the targets given."""
    on_label = on_others = 0.0
    for n, y in enumerate(labels):
        on_label -= targets[0][n] * log_softmax(logits[n])[y]
        others = [c for c in range(logits.shape[1]) if c != y]
        log_p = log_softmax(logits[n, others])
        on_others -= sum(targets[1][n][c] * log_p[i] for i, c in enumerate(others))
    return on_label, on_others


def test_uskd() -> None:
    targets = uskd_targets(STUDENT, WEAK, LABELS)
    labels, weak = tensor(LABELS), tensor(WEAK)
    np.testing.assert_allclose(zipf(tensor(STUDENT), weak, labels).numpy(), targets[1], rtol=1e-10)

    def on_label(s: torch.Tensor) -> torch.Tensor:
        return target_loss(s, labels, squares(s, labels).mean())

    expected = uskd_loop(STUDENT, LABELS, targets)
    np.testing.assert_allclose(float(on_label(tensor(STUDENT)).sum()), expected[0], rtol=1e-10)
    np.testing.assert_allclose(float(other_loss(tensor(STUDENT), weak, labels).sum()), expected[1], rtol=1e-10)
    for ours, number in ((on_label, 0), (lambda s: other_loss(s, weak, labels), 1)):
        numeric = slopes(lambda s: uskd_loop(s, LABELS, targets)[number], STUDENT)  # noqa: B023
        np.testing.assert_allclose(gradient(ours, STUDENT), numeric, rtol=1e-5, atol=1e-8)


def test_no_gradient_of_the_other_classes_reaches_the_weak_head_and_its_own_loss_is_smoothed() -> None:
    weak = tensor(WEAK).clone().requires_grad_(True)
    assert not other_loss(tensor(STUDENT), weak, tensor(LABELS)).requires_grad
    target = 0.9 * np.eye(C)[LABELS] + 0.1 / C
    np.testing.assert_allclose(weak_loss(weak, tensor(LABELS)).detach().numpy(), -(target * log_softmax(WEAK, axis=1)).sum(1))


def test_uskd_of_a_sure_student_stays_finite() -> None:
    logits = torch.full((1, 4), -200.0, dtype=torch.float64)
    logits[0, 1] = 200.0
    logits.requires_grad_(True)
    labels = torch.tensor([1])
    (target_loss(logits, labels, squares(logits, labels).mean()) + other_loss(logits, logits, labels)).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()


# --- SLA ----------------------------------------------------------------------------------------------------------


def test_joint_labels_and_the_aggregated_prediction() -> None:
    joint = RNG.normal(size=(N, 4, C * 4))
    expected, mean = np.zeros(N), np.zeros((N, C))
    for n in range(N):
        for j in range(4):
            expected[n] -= log_softmax(joint[n, j])[LABELS[n] * 4 + j] / 4
            for c in range(C):
                mean[n, c] += joint[n, j, c * 4 + j] / 4
    np.testing.assert_allclose(joint_losses(CrossEntropy(), tensor(joint), tensor(LABELS)).numpy(), expected, rtol=1e-12)
    np.testing.assert_allclose(aggregated(tensor(joint)).numpy(), mean, rtol=1e-12)
    numeric = slopes(lambda z: sum(-log_softmax(z[n, j])[LABELS[n] * 4 + j] / 4 for n in range(N) for j in range(4)), joint)
    ours = gradient(lambda z: joint_losses(CrossEntropy(), z, tensor(LABELS)), joint)
    np.testing.assert_allclose(ours, numeric, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("predict", ["aggregated", "single", "distilled"])
def test_what_the_head_of_class_and_turn_predicts(predict: str) -> None:
    torch.manual_seed(0)
    head = Rotations(5, predict=predict)  # type: ignore[arg-type]
    head.expand(2)
    first = head.weight.detach().clone()
    head.expand(1)
    assert torch.equal(head.weight[:8], first) and head.weight.shape == (12, 5)
    head = head.double()
    views = torch.randn(3, head.views, 5, dtype=torch.float64)
    found = head(views.flatten(1))
    for n in range(3):
        for c in range(3):
            rows = [float(views[n, j] @ head.weight[c * 4 + j] + head.bias[c * 4 + j]) for j in range(head.views)]
            plain = None if head.plain is None else float(views[n, 0] @ head.plain.weight[c] + head.plain.bias[c])  # type: ignore[index]
            assert float(found[n, c]) == pytest.approx(sum(rows) / len(rows) if plain is None else plain, rel=1e-12)


# --- DHO ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("alpha", "beta"), [(0.5, 1.0), (0.05, 4.0), (0.0, 0.5), (1.0, 2.0)])
def test_the_mixture_of_two_heads(alpha: float, beta: float) -> None:
    ours = mixed(tensor(STUDENT), tensor(TEACHER), *torch.tensor([alpha, beta], dtype=torch.float64))
    p = alpha * softmax(STUDENT, axis=1) + (1 - alpha) * softmax(TEACHER / beta, axis=1)
    np.testing.assert_allclose(ours.numpy(), np.log(p), rtol=1e-9)
    np.testing.assert_allclose(ours.exp().sum(1).numpy(), 1, rtol=1e-12)


def test_a_dual_head_decides_by_its_mixture() -> None:
    head = Dual(4)
    head.expand(3)
    head.alpha.fill_(0.3)
    head.beta.fill_(2.0)
    x = torch.randn(6, 4)
    z = [each.detach().numpy().astype(np.float64) for each in head.both(x)]
    p = 0.3 * softmax(z[0], axis=1) + 0.7 * softmax(z[1] / 2, axis=1)
    np.testing.assert_allclose(head(x).detach().numpy(), np.log(p), rtol=1e-5)
    again = Dual(4)
    again.restore(head.state_dict(), 3)
    assert torch.equal(again(x), head(x))


# --- KD and hints ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("t2_scale", [True, False])
def test_kd_without_a_label_is_the_kl_alone(t2_scale: bool) -> None:
    labels = LABELS.copy()
    labels[::2] = -1
    ours = KD(temperature=3.0, alpha=0.7, t2_scale=t2_scale).distill(
        Outputs(tensor(STUDENT)), Outputs(tensor(TEACHER)), tensor(labels), 1
    )
    for n, label in enumerate(labels):
        kl = rel_entr(softmax(TEACHER[n] / 3), softmax(STUDENT[n] / 3)).sum() * (9 if t2_scale else 1)
        ce = -log_softmax(STUDENT[n])[label] if label >= 0 else 0.0
        assert float(ours[n]) == pytest.approx(0.3 * ce + 0.7 * kl, rel=1e-10)


@pytest.mark.parametrize("normalise", [False, True])
def test_hints(normalise: bool) -> None:
    loss = Hint(weight=2.0, normalise=normalise)
    torch.manual_seed(0)
    loss.prepare(4, 3, C)
    loss.double()
    regressor = loss.regressor
    assert regressor is not None
    weight, bias = regressor.weight.detach().numpy(), regressor.bias.detach().numpy()
    features, wanted = RNG.normal(size=(N, 4)), RNG.normal(size=(N, 3))
    labels = LABELS.copy()
    labels[0] = -1

    def loop(f: np.ndarray) -> list[float]:
        rows = []
        for n in range(N):
            r, t = weight @ f[n] + bias, wanted[n]
            if normalise:
                distance = 2 - 2 * (r @ t) / math.sqrt((r @ r) * (t @ t))
            else:
                distance = sum((r[d] - t[d]) ** 2 for d in range(3)) / 3
            ce = -log_softmax(STUDENT[n])[labels[n]] if labels[n] >= 0 else 0.0
            rows.append(ce + 2 * distance)
        return rows

    def ours(f: torch.Tensor) -> torch.Tensor:
        return loss.distill(Outputs(tensor(STUDENT), f), Outputs(tensor(TEACHER), tensor(wanted)), tensor(labels), 1)

    np.testing.assert_allclose(ours(tensor(features)).detach().numpy(), loop(features), rtol=1e-9)
    np.testing.assert_allclose(gradient(ours, features), slopes(lambda f: sum(loop(f)), features), rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_sixteen_bits_are_computed_in_float32(dtype: torch.dtype) -> None:
    student, teacher = tensor(STUDENT).to(dtype), tensor(TEACHER).to(dtype)
    assert binary_kl(student, teacher, 2.0).dtype == torch.float32
    torch.testing.assert_close(binary_kl(student, teacher, 2.0), binary_kl(student.float(), teacher.float(), 2.0))
    kd = KD().distill(Outputs(student), Outputs(teacher), tensor(LABELS), 1)
    assert kd.dtype == torch.float32
