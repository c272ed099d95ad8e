"""rkd_triplet: the angles of relational knowledge distillation from squared distances, without the difference vectors.

The angle at x_i between x_j and x_k has the cosine (N_ij + N_ik - N_jk) / (2 n_ij n_ik), with N_ij = n_ij^2 = ||x_i - x_j||^2.
Given the matrix N, B^3 cosines cost some additions each, where the vectors x_j - x_i take B^2 d numbers and B^3 d products. N is
summed from differences and not from a Gram matrix: equal rows are exactly 0 apart, and an offset of all rows costs no digits.
What it costs: N_ik - N_jk cancels where n_ij is far below n_ik, and the cosine is off by about
n_ik / n_ij units in the last place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from hdx.ops import dispatch
from hdx.ops.bench import Case

CHUNK = 1 << 17  # cosines at once: they stay in the cache

dispatch.declare(
    "rkd_triplet",
    "(Tensor student, Tensor teacher) -> (Tensor, Tensor, Tensor)",
    dtypes=(torch.float32, torch.float64),
)
dispatch.declare(
    "rkd_triplet_backward",
    "(Tensor upstream, Tensor student, Tensor student_squares, Tensor teacher_squares) -> Tensor",
    dtypes=(torch.float32, torch.float64),
)


def rkd_triplet(student: Tensor, teacher: Tensor) -> Tensor:
    """Huber distance between student's and teacher's cosines at each sample, over all pairs of other samples.

        loss_i = 1 / B^2 sum_jk huber(cos_s(j, i, k) - cos_t(j, i, k)),      huber(x) = x^2 / 2 where |x| <= 1, else |x| - 1 / 2

    A pair at distance 0 has no direction: its cosine is 0 and has no gradient.

    Source: Park et al. 2019, "Relational Knowledge Distillation"; mean over ordered triplets, those with equal samples
        included, as in the authors' code. There a pair at distance 0 has a gradient of 1e12; here it has none.

    Args:
        student: [B, D] features; 16-bit ones are computed in float32.
        teacher: [B, E] features, no gradient flows into them.
    Returns: [B] float32, or float64 where one of them is; the mean is the paper's loss of the batch. It has a first derivative
        alone.
    Raises: ValueError where the shapes do not fit.
    """
    if student.dim() != 2 or teacher.dim() != 2 or len(student) != len(teacher):
        raise ValueError(f"Expected features [B, D] and [B, E], got {list(student.shape)} and {list(teacher.shape)}")
    dtype = torch.promote_types(torch.promote_types(student.dtype, teacher.dtype), torch.float32)
    student, teacher = student.to(dtype), teacher.detach().to(dtype)
    return FORMS[dispatch.choose("rkd_triplet", student, teacher)](student, teacher)


def reference(student: Tensor, teacher: Tensor) -> Tensor:
    """[B], from unit vectors between all samples and by autograd; see `rkd_triplet`."""
    own, asked = (units @ units.mT for units in (_units(student), _units(teacher)))
    return F.huber_loss(own, asked, reduction="none").sum((1, 2)) / max(len(student), 1) ** 2


def _units(features: Tensor) -> Tensor:
    """[B, B, D] unit vectors from sample i to sample j, 0 where they are equal."""
    vectors = features[None] - features[:, None]
    lengths = torch.linalg.vector_norm(vectors, dim=2, keepdim=True)
    return torch.where(lengths > 0, vectors / torch.where(lengths > 0, lengths, 1.0), 0.0)


def composite(student: Tensor, teacher: Tensor) -> Tensor:
    """[B], from the squared distances, some vertices at a time, with the gradient in closed form; see `rkd_triplet`."""
    return _RkdTriplet.apply(student, teacher, False)  # type: ignore[no-any-return]


def native(student: Tensor, teacher: Tensor) -> Tensor:
    """[B], with no tensor larger than B^2; see `rkd_triplet`."""
    return _RkdTriplet.apply(student, teacher, True)  # type: ignore[no-any-return]


class _RkdTriplet(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, student: Tensor, teacher: Tensor, native: bool) -> Tensor:
        run = torch.ops.hdx.rkd_triplet if native else _forward
        loss, *squares = run(student, teacher)
        ctx.save_for_backward(student, *squares)
        ctx.native = native
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor | None, ...]:
        run = torch.ops.hdx.rkd_triplet_backward if ctx.native else _backward
        return run(upstream, *ctx.saved_tensors), None, None


def _forward(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Loss [B] and the squared distances [B, B] of both."""
    squares = _squares(student), _squares(teacher)
    losses = [F.huber_loss(a, b, reduction="none").sum((1, 2)) for _, a, b, _ in _chunks(*squares)]
    return torch.cat([student.new_zeros(0), *losses]) / max(len(student), 1) ** 2, *squares


def _backward(upstream: Tensor, student: Tensor, student_squares: Tensor, teacher_squares: Tensor) -> Tensor:
    """d (upstream . loss) / d student [B, D], by way of the slopes d / d N."""
    slopes = torch.zeros_like(student_squares)
    inverse = _inverse(student_squares)
    for vertices, a, b, scale in _chunks(student_squares, teacher_squares):
        weight = (a - b).clamp_(-1, 1).mul_(upstream[vertices, None, None])
        scaled = scale.mul_(weight)  # of 1 / (n_ij n_ik)
        slopes[vertices] += scaled.sum(2) - weight.mul_(a).sum(2) * inverse[vertices] ** 2
        slopes.sub_(scaled.sum(0), alpha=0.5)
    slopes = (slopes + slopes.T) * (2 / max(len(student), 1) ** 2)
    centred = student - student.mean(0)
    return slopes.sum(1, keepdim=True) * centred - slopes @ centred


def _chunks(student: Tensor, teacher: Tensor) -> Iterator[tuple[slice, Tensor, Tensor, Tensor]]:
    """Vertices i, cosines [i, B, B] of student and teacher, and the student's 1 / (n_ij n_ik)."""
    n = len(student)
    step = n if torch.compiler.is_compiling() else max(1, CHUNK // max(n, 1) ** 2)  # a compiler makes no tensor of the cosines
    inverses = _inverse(student), _inverse(teacher)
    for first in range(0, n, max(step, 1)):
        at = slice(first, first + step)
        (a, scale), (b, _) = (_cosines(squares, inverse, at) for squares, inverse in zip((student, teacher), inverses))
        yield at, a, b, scale


def _cosines(squares: Tensor, inverse: Tensor, at: slice) -> tuple[Tensor, Tensor]:
    own, unit = squares[at], inverse[at]
    scale = unit[:, :, None] * unit[:, None, :]
    return (own[:, :, None] + own[:, None, :]).sub_(squares).mul_(scale).mul_(0.5), scale


def _squares(features: Tensor) -> Tensor:
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist").square_()


def _inverse(squares: Tensor) -> Tensor:
    """1 / n [B, B], 0 where n is."""
    return torch.where(squares > 0, squares.rsqrt(), 0.0)


FORMS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"reference": reference, "composite": composite, "native": native}


def cases(device: str) -> Iterator[Case]:
    """The angles of 256 features of 512, forward and backward (see `hdx.ops.bench`)."""
    n, d = 256, 512
    generator = torch.Generator().manual_seed(0)
    student, teacher = (torch.randn(n, d, generator=generator).to(device) for _ in range(2))
    both_ways = partial(_both_ways, student=student.requires_grad_(True), upstream=student.new_full((n,), 1 / n))
    forms: dict[str, Callable[[], object]] = {"eager": partial(both_ways, partial(_eager, student, teacher))}
    for name in ("composite", "native"):
        if name != "native" or not dispatch.why_not("rkd_triplet", student):
            forms[name] = partial(both_ways, partial(FORMS[name], student, teacher))
    yield Case(
        name=f"rkd_triplet {n} x {d}, forward and backward",
        bytes=4.0 * (3 * n * d + 2 * n * n),
        flops=3.0 * n * n * d + 3.0 * n * n * d + (14 + 23) * n**3,  # distances (half of each), gradient, triplets both ways
        forms=forms,
        note=""
        if device == "cuda"
        else "a triplet's work is additions and comparisons, of which few are half of a fused product",
    )


def _eager(student: Tensor, teacher: Tensor) -> Tensor:
    units = [F.normalize(features[None] - features[:, None], dim=2) for features in (student, teacher)]
    own, asked = (vectors @ vectors.mT for vectors in units)
    return F.smooth_l1_loss(own, asked, reduction="none").mean((1, 2))


def _both_ways(loss: Callable[[], Tensor], student: Tensor, upstream: Tensor) -> Tensor:
    return torch.autograd.grad(loss(), student, upstream)[0]


@torch.library.register_fake("hdx::rkd_triplet")
def _fake(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    n = student.shape[0]
    return student.new_empty(n), student.new_empty(n, n), student.new_empty(n, n)


@torch.library.register_fake("hdx::rkd_triplet_backward")
def _fake_backward(upstream: Tensor, student: Tensor, student_squares: Tensor, teacher_squares: Tensor) -> Tensor:
    return student.new_empty(student.shape)
