"""kd_rows: cross-entropy, KD, DKD and NKD of each sample in one pass over the logits, with a gradient in closed form.

Of a row, p and q are the softmax of student and teacher at temperature T, y is the target class, and p', q' are the softmax over
the other classes alone. All terms follow from p', q' and the log-odds u = log p_y / (1 - p_y) and v of y against the rest,

    KL(q || p) = KL((q_y, 1 - q_y) || (p_y, 1 - p_y)) + (1 - q_y) KL(q' || p'),      log p_y = -softplus(-u),

so nothing is lost to cancellation when p_y is near 1. A class at -inf in the teacher asks nothing of the student. The forward
keeps six numbers a row (`ROW`), from which the backward makes the gradient in one more pass; p and q are never stored.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hdx.ops import dispatch

TERMS = "float temperature, float ce, float teacher_ce, float kd, float target, float non_target, float non_target_ce"
ROW = ("student_max", "teacher_max", "student_slope", "teacher_slope", "hard_slope", "target_slope")

dispatch.declare(
    "kd_rows",
    f"(Tensor student, Tensor teacher, Tensor labels, {TERMS}) -> (Tensor, Tensor, Tensor)",
    dtypes=(torch.float32, torch.float64),
)
dispatch.declare(
    "kd_rows_backward",
    "(Tensor upstream, Tensor student, Tensor teacher, Tensor targets, Tensor rows, float temperature) -> Tensor",
    dtypes=(torch.float32, torch.float64),
)


class Terms(NamedTuple):
    """T and the weight of each term of `kd_rows`."""

    temperature: float
    ce: float
    teacher_ce: float
    kd: float
    target: float
    non_target: float
    non_target_ce: float


def kd_rows(
    student: Tensor,
    teacher: Tensor,
    labels: Tensor,
    *,
    temperature: float = 1.0,
    ce: float = 0.0,
    teacher_ce: float = 0.0,
    kd: float = 0.0,
    target: float = 0.0,
    non_target: float = 0.0,
    non_target_ce: float = 0.0,
) -> Tensor:
    """Weighted sum of distillation terms of each row; a weight carries T^2 where it is wanted.

        ce CE(s, label) + teacher_ce t_y CE(s, y) + kd KL(q || p) + target KL(b(q) || b(p)) + non_target KL(q' || p')
        + non_target_ce H(q', p')

    with b(q) = (q_y, 1 - q_y); CE and t_y, the teacher's probability of y, are at temperature 1, the rest at T. The target y is
    the label, or where there is none the class that the teacher puts first (hdx's choice: the papers have labels).

    Source: Hinton et al. 2015 (kd); Zhao et al. 2022, DKD (target, non_target); Yang et al. 2023, NKD (teacher_ce and
        non_target_ce).

    Args:
        student: [B, C] logits, C >= 1; 16-bit ones are computed in float32.
        teacher: [B, C] logits over the same classes; no gradient flows into them.
        labels: [B] int64 in [0, C); a negative one means none, and the first term is 0.
        temperature: T > 0.
        ce, teacher_ce, kd, target, non_target, non_target_ce: weights; a term of weight 0 is left out, even where it is infinite.
    Returns: [B] float32, or float64 where one of the logits is.
    Raises: ValueError where the shapes do not fit.
    """
    if student.dim() != 2 or student.shape != teacher.shape or labels.shape != student.shape[:1] or student.shape[1] < 1:
        shapes = f"{list(student.shape)}, {list(teacher.shape)} and {list(labels.shape)}"
        raise ValueError(f"Expected student and teacher [B, C] and labels [B] with C >= 1, got {shapes}")
    if not temperature > 0:
        raise ValueError(f"Expected a temperature > 0, got {temperature}")
    terms = Terms(temperature, ce, teacher_ce, kd, target, non_target, non_target_ce)
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    form = dispatch.choose("kd_rows", student, teacher, labels)
    return FORMS[form](student, teacher, labels, terms)


def reference(student: Tensor, teacher: Tensor, labels: Tensor, terms: Terms) -> Tensor:
    """[B], from the formulas and by autograd; see `kd_rows`."""
    y = targets(teacher, labels)
    log_p, log_q = ((logits / terms.temperature).log_softmax(1) for logits in (student, teacher))
    rest_p, rest_q = _log_softmax_without(student / terms.temperature, y), _log_softmax_without(teacher / terms.temperature, y)
    hard = F.nll_loss(student.log_softmax(1), y, reduction="none")
    t_y = teacher.softmax(1).gather(1, y[:, None])[:, 0]
    values = (
        (terms.ce, torch.where(labels < 0, 0.0, hard)),
        (terms.teacher_ce, t_y * hard),
        (terms.kd, _kl(log_q, log_p)),
        (terms.target, _kl(_binary(log_q, y), _binary(log_p, y))),
        (terms.non_target, _kl(rest_q, rest_p)),
        (terms.non_target_ce, -torch.where(rest_q.exp() == 0, 0.0, rest_q.exp() * rest_p).sum(1)),
    )
    return sum((weight * value for weight, value in values if weight), torch.zeros_like(hard))


def targets(teacher: Tensor, labels: Tensor) -> Tensor:
    """[B] int64: the label, or the class that the teacher puts first."""
    return torch.where(labels < 0, teacher.argmax(1), labels)


def _kl(log_q: Tensor, log_p: Tensor) -> Tensor:
    q = log_q.exp()
    return torch.where(q == 0, 0.0, q * (log_q - log_p)).sum(1)


def _binary(log_p: Tensor, y: Tensor) -> Tensor:
    """[B, 2] log-probabilities of y and of the rest, the latter summed and not 1 - p_y."""
    return torch.stack([log_p.gather(1, y[:, None])[:, 0], log_p.scatter(1, y[:, None], -torch.inf).logsumexp(1)], 1)


def _log_softmax_without(logits: Tensor, y: Tensor) -> Tensor:
    """[B, C] log-softmax over the classes but y, -inf at y; a row with no other finite class is -inf throughout."""
    rest = logits.scatter(1, y[:, None], -torch.inf)
    alone = (rest == -torch.inf).all(1, keepdim=True)
    return torch.where(alone, -torch.inf, torch.where(alone, 0.0, rest).log_softmax(1))


def composite(student: Tensor, teacher: Tensor, labels: Tensor, terms: Terms) -> Tensor:
    """[B], in few passes of torch and with the gradient in closed form; see `kd_rows`."""
    return _KdRows.apply(student, teacher, labels, False, *terms)  # type: ignore[no-any-return]


def native(student: Tensor, teacher: Tensor, labels: Tensor, terms: Terms) -> Tensor:
    """[B], in one pass each way; see `kd_rows`."""
    return _KdRows.apply(student, teacher, labels, True, *terms)  # type: ignore[no-any-return]


class _KdRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, labels: Tensor, native: bool, *terms: float) -> Tensor:
        run = torch.ops.hdx.kd_rows if native else _rows
        loss, rows, y = run(student, teacher, labels, *terms)
        ctx.save_for_backward(student, teacher, y, rows)
        ctx.native, ctx.temperature = native, terms[0]
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        run = torch.ops.hdx.kd_rows_backward if ctx.native else _gradient
        gradient = run(upstream, *ctx.saved_tensors, ctx.temperature)  # type: ignore[call-arg]
        return gradient, *[None] * (3 + len(Terms._fields))


class _Rest(NamedTuple):
    """A row without its target.

    Attributes:
        largest: [B] logit, 0 where the target is alone.
        log_sum: [B] log sum exp((z - largest) / T), -inf where the target is alone.
        odds: [B] log-odds of the target against the rest at T.
        alone: [B] bool, whether all other classes are at -inf.
        log_probs: [B, C] log-softmax at T, -inf at the target; NaN where the target is alone.
    """

    largest: Tensor
    log_sum: Tensor
    odds: Tensor
    alone: Tensor
    log_probs: Tensor


def _rest(logits: Tensor, y: Tensor, temperature: float) -> _Rest:
    rest = logits.scatter(1, y[:, None], -torch.inf)
    largest = rest.amax(1)
    alone = largest == -torch.inf
    largest = torch.where(alone, 0.0, largest)
    log_probs = (rest if temperature == 1 else rest / temperature).log_softmax(1)
    log_sum = torch.where(alone, -torch.inf, -log_probs.amax(1))
    odds = (logits.gather(1, y[:, None])[:, 0] - largest) / temperature - log_sum
    return _Rest(largest, log_sum, odds, alone, log_probs)


def _rows(student: Tensor, teacher: Tensor, labels: Tensor, *weights: float) -> tuple[Tensor, Tensor, Tensor]:
    """Loss [B], `ROW` [B, 6] and target [B] of each row."""
    terms = Terms(*weights)
    y = targets(teacher, labels)
    s, t = _rest(student, y, terms.temperature), _rest(teacher, y, terms.temperature)
    hard_s, hard_t = s, t
    if terms.temperature != 1 and (terms.ce or terms.teacher_ce):
        hard_s = _rest(student, y, 1.0)
    if terms.temperature != 1 and terms.teacher_ce:
        hard_t = _rest(teacher, y, 1.0)
    known = terms.ce * (labels >= 0).to(student.dtype)
    hard = known + terms.teacher_ce * hard_t.odds.sigmoid() if terms.teacher_ce else known  # weight of -log softmax(s)_y
    loss = _times(hard, -F.logsigmoid(hard_s.odds))
    if terms.kd or terms.target:
        loss = loss + (terms.kd + terms.target) * _binary_kl(t.odds, s.odds)
    if terms.kd or terms.non_target:
        q = t.log_probs.exp()
        divergence = torch.where(q == 0, 0.0, q * (t.log_probs - s.log_probs)).sum(1)
        loss = loss + _times(terms.kd * (-t.odds).sigmoid() + terms.non_target, _over_rest(divergence, s, t))
    if terms.non_target_ce:
        q = t.log_probs.exp()
        loss = loss + terms.non_target_ce * _over_rest(-torch.where(q == 0, 0.0, q * s.log_probs).sum(1), s, t)
    return loss, _slopes(s, t, hard_s, hard, terms), y


def _times(weight: Tensor, value: Tensor) -> Tensor:
    """The product, and 0 where the weight is, whatever the value."""
    return torch.where(weight == 0, 0.0, weight * value)


def _over_rest(value: Tensor, s: _Rest, t: _Rest) -> Tensor:
    """The value of a term over the other classes: 0 where the teacher has none, infinite where only the student does."""
    return torch.where(t.alone, 0.0, torch.where(s.alone, torch.inf, value))


def _binary_kl(v: Tensor, u: Tensor) -> Tensor:
    """KL((q, 1 - q) || (p, 1 - p)) [B] of log-odds v of q and u of p."""
    sides = [_times((sign * v).sigmoid(), F.logsigmoid(sign * v) - F.logsigmoid(sign * u)) for sign in (1, -1)]
    return sides[0] + sides[1]


def _slopes(s: _Rest, t: _Rest, hard_s: _Rest, hard: Tensor, terms: Terms) -> Tensor:
    """`ROW` [B, 6]: d loss / d s_j = student_slope exp((s_j - student_max) / T) - teacher_slope exp((t_j - teacher_max) / T)
    + hard_slope exp(s_j - student_max) for j != y, and target_slope for y.
    """
    rest_p, rest_q = (-s.odds).sigmoid(), (-t.odds).sigmoid()  # 1 - p_y, 1 - q_y
    excess = torch.where((s.odds > 0) & (t.odds > 0), rest_q - rest_p, s.odds.sigmoid() - t.odds.sigmoid())  # p_y - q_y
    others = torch.where(t.alone, 0.0, torch.full_like(rest_p, terms.non_target + terms.non_target_ce))
    hard = hard * (-hard_s.odds).sigmoid()
    of_p = (terms.kd * rest_p + others - terms.target * excess) / terms.temperature
    of_q = (terms.kd * rest_q + others) / terms.temperature
    of_y = (terms.kd + terms.target) * excess / terms.temperature - hard
    student_slope, hard_slope = (of_p + hard, torch.zeros_like(hard)) if terms.temperature == 1 else (of_p, hard)
    columns = (
        s.largest,
        t.largest,
        torch.where(s.alone, 0.0, student_slope * (-s.log_sum).exp()),
        torch.where(t.alone, 0.0, of_q * (-t.log_sum).exp()),
        torch.where(s.alone, 0.0, hard_slope * (-hard_s.log_sum).exp()),
        of_y,
    )
    return torch.stack(columns, 1)


def _gradient(upstream: Tensor, student: Tensor, teacher: Tensor, y: Tensor, rows: Tensor, temperature: float) -> Tensor:
    """d (upstream . loss) / d student [B, C]."""
    student_max, teacher_max, student_slope, teacher_slope, hard_slope, target_slope = rows.unsqueeze(2).unbind(1)
    scale, upstream = 1 / temperature, upstream[:, None]
    below = student - student_max
    gradient = (below * scale).exp_().mul_(student_slope * upstream)
    gradient -= (teacher - teacher_max).mul_(scale).exp_().mul_(teacher_slope * upstream)
    if temperature != 1:
        gradient += below.exp_().mul_(hard_slope * upstream)
    return gradient.scatter_(1, y[:, None], target_slope * upstream)


@torch.library.register_fake("hdx::kd_rows")
def _fake(student: Tensor, teacher: Tensor, labels: Tensor, *terms: float, **named: float) -> tuple[Tensor, Tensor, Tensor]:
    n = student.shape[0]
    return student.new_empty(n), student.new_empty(n, len(ROW)), torch.empty_like(labels)


@torch.library.register_fake("hdx::kd_rows_backward")
def _fake_backward(
    upstream: Tensor, student: Tensor, teacher: Tensor, targets: Tensor, rows: Tensor, temperature: float
) -> Tensor:
    return student.new_empty(student.shape)


FORMS = {"reference": reference, "composite": composite, "native": native}
