"""Sums of labelled features about a pivot: how many of each class, their sums, and the Gram matrix of all.

Everything is a sum in float64. Of a large block of float32 features on a CPU the Gram matrix is summed from float32 products
of a few rows each, where that is measured to do no harm (`hdx.ops._gram`); that is where the time goes, and where native code
pays. A GPU is left its float64 products, since a user's setting may cut those in float32 to ten bits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from hdx.ops import _gram, dispatch
from hdx.ops.bench import Case

CHUNK = 1024  # rows converted to float64 at a time: a copy of 6 MB for D = 768, which caches hold
BLOCK = 32 * _gram.CHUNK  # rows whose rounding is measured together
SEGMENT = 64  # rows of a class that the CUDA kernel sums at once

FLOATS = (torch.float32, torch.float16, torch.bfloat16)
dispatch.declare("class_gram", "(Tensor features, Tensor pivot) -> Tensor", dtypes=FLOATS, devices=("cpu",))
dispatch.declare("class_probe", "(Tensor features, Tensor pivot, Tensor probes) -> Tensor", devices=("cpu",))
dispatch.declare(
    "class_moments",
    "(Tensor features, Tensor order, Tensor starts, Tensor firsts, Tensor pivot) -> (Tensor, Tensor)",
    dtypes=(*FLOATS, torch.float64),
    devices=("cuda",),
)


@torch.library.register_fake("hdx::class_gram")
def _fake_gram(features: Tensor, pivot: Tensor) -> Tensor:
    return features.new_empty(features.shape[1], features.shape[1], dtype=torch.float64)


@torch.library.register_fake("hdx::class_probe")
def _fake_probe(features: Tensor, pivot: Tensor, probes: Tensor) -> Tensor:
    return features.new_empty(len(features), len(probes), dtype=torch.float64)


@torch.library.register_fake("hdx::class_moments")
def _fake_moments(features: Tensor, order: Tensor, starts: Tensor, firsts: Tensor, pivot: Tensor) -> tuple[Tensor, Tensor]:
    sums = features.new_empty(len(starts) - 1, features.shape[1], dtype=torch.float64)
    return features.new_empty(features.shape, dtype=pivot.dtype), sums


class Sums(NamedTuple):
    """Sums over samples with z = x - pivot.

    Attributes:
        counts: [C] int64.
        sums: [C, D] float64, sum of z per class.
        gram: [D, D] float64, sum of z z^T, or None where it is not asked for.
    """

    counts: Tensor
    sums: Tensor
    gram: Tensor | None

    def moved(self, shift: Tensor) -> Sums:
        """The same about `pivot - shift`, for a shift [D] float64."""
        sums = self.sums + self.counts[:, None] * shift
        return Sums(
            self.counts, sums, None if self.gram is None else moved(self.gram, self.sums.sum(0), self.counts.sum(), shift)
        )


def moved(gram: Tensor, sums: Tensor, n: Tensor, shift: Tensor) -> Tensor:
    """Gram matrices [..., D, D] of samples whose sums are [..., D] and numbers [...], each sample moved by `shift` [D]."""
    cross = sums[..., None] * shift
    return gram + (cross + cross.mT + n[..., None, None] * torch.outer(shift, shift))


def class_moments(
    features: Tensor, labels: Tensor, n_classes: int, pivot: Tensor, *, gram: bool = True, floor: float = 0.0
) -> Sums:
    """Counts, class sums and Gram matrix about a pivot.

    Counts are exact. Sums, and Gram matrices of fewer than 2,048 samples or of float64 features, are right to 1e-13 of the
    sum of absolute terms. A Gram matrix by float32 products is right to 1e-6 of its largest entry, and changes a covariance
    S = scatter within classes / n + floor * I by at most 1e-5 of S in every direction, measured for each block; else the
    block is taken in float64. The native form on a CPU gives the same bits for any number of threads.

    Args:
        features: [N, D] of any float type.
        labels: [N] int64 in [0, n_classes).
        n_classes: C.
        pivot: [D] float64, near the features' mean: the nearer, the fewer digits a common offset costs.
        gram: whether the Gram matrix is needed.
        floor: at least what will be added to the diagonal of the covariance.
    """
    device = features.device.type
    if device == "cuda":
        form = dispatch.choose("class_moments", features)
    elif gram and len(features) >= _gram.CHUNK and features.dtype != torch.float64:
        form = dispatch.choose("class_gram", features)
    else:
        form = "reference"
    return FORMS[form](features, labels, n_classes, pivot, gram=gram, floor=floor)


def reference(features: Tensor, labels: Tensor, n_classes: int, pivot: Tensor, *, gram: bool, floor: float) -> Sums:
    """In float64, a chunk of rows at a time."""
    counts = torch.bincount(labels, minlength=n_classes)
    sums = pivot.new_zeros(n_classes, len(pivot))
    total = pivot.new_zeros(len(pivot), len(pivot)) if gram else None
    for x, y in zip(features.split(CHUNK), labels.split(CHUNK)):
        if total is None:
            sums.index_add_(0, y, x.double())
        else:
            z = x.to(torch.float64, copy=True).sub_(pivot)  # [n, D]
            sums.index_add_(0, y, z)
            total += _gram.product(z)
    return Sums(counts, sums - counts[:, None] * pivot if total is None else sums, total)


def composite(features: Tensor, labels: Tensor, n_classes: int, pivot: Tensor, *, gram: bool, floor: float) -> Sums:
    """As `reference`, with float32 products by the BLAS where they do no harm."""
    return _by_float32(_gram.BLAS, features, labels, n_classes, pivot, gram, floor)


def native(features: Tensor, labels: Tensor, n_classes: int, pivot: Tensor, *, gram: bool, floor: float) -> Sums:
    """By float32 products in C++ (CPU), or centred and summed in one read in CUDA C++, with float64 products."""
    if features.device.type == "cpu":
        return _by_float32(KERNEL, features, labels, n_classes, pivot, gram, floor)
    counts = torch.bincount(labels, minlength=n_classes)
    sums = pivot.new_zeros(n_classes, len(pivot))
    total = pivot.new_zeros(len(pivot), len(pivot)) if gram else None
    for x, y in zip(_unit_columns(features).split(BLOCK), labels.split(BLOCK)):
        sizes = torch.bincount(y, minlength=n_classes)
        starts, firsts = (_starts(lengths) for lengths in (sizes, -(-sizes // SEGMENT)))
        z, added = torch.ops.hdx.class_moments(x, y.argsort(stable=True), starts, firsts, pivot)
        sums += added
        if total is not None:
            total.addmm_(z.T, z)
    return Sums(counts, sums, total)


FORMS: dict[str, Callable[..., Sums]] = {"native": native, "composite": composite, "reference": reference}


def _by_float32(
    by: _gram.Products, features: Tensor, labels: Tensor, n_classes: int, pivot: Tensor, gram: bool, floor: float
) -> Sums:
    if not gram or features.dtype == torch.float64 or features.device.type != "cpu":
        return reference(features, labels, n_classes, pivot, gram=gram, floor=floor)
    parts = [
        _block(by, x, y, n_classes, pivot, floor) or reference(x, y, n_classes, pivot, gram=True, floor=floor)
        for x, y in zip(features.split(BLOCK), labels.split(BLOCK))
    ]
    counts, sums, grams = zip(*parts)
    return Sums(sum(counts), sum(sums), sum(grams))


def _block(by: _gram.Products, features: Tensor, labels: Tensor, n_classes: int, pivot: Tensor, floor: float) -> Sums | None:
    """By float32 products about the pivot rounded to float32, so that one subtraction rounds once; None where they do harm."""
    if len(features) < _gram.CHUNK:
        return None
    near = pivot.float()
    about = reference(features, labels, n_classes, near.double(), gram=False, floor=floor)
    gram = by.gram(features, near)
    if not _gram.rounding(gram, about.sums, about.counts, floor, features, near, by.probe) < _gram.TOLERANCE:
        return None
    return Sums(about.counts, about.sums, gram).moved(near.double() - pivot)


def _gram_by_kernel(features: Tensor, pivot: Tensor) -> Tensor:
    return torch.ops.hdx.class_gram(_unit_columns(features.float()), pivot)


def _probe_by_kernel(features: Tensor, pivot: Tensor, probes: Tensor) -> Tensor:
    return torch.ops.hdx.class_probe(_unit_columns(features.float()), pivot, probes)


KERNEL = _gram.Products(_gram_by_kernel, _probe_by_kernel)


def _unit_columns(features: Tensor) -> Tensor:
    return features if features.stride(1) == 1 else features.contiguous()


def _starts(lengths: Tensor) -> Tensor:
    return torch.nn.functional.pad(lengths.cumsum(0), (1, 0))


def cases(device: str) -> Iterator[Case]:
    """50,000 features of 512 in 100 classes (see `hdx.ops.bench`)."""
    n, d, n_classes = 50_000, 512, 100
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(n_classes, (n,), generator=generator)
    features = torch.randn(n, d, generator=generator) + torch.randn(n_classes, d, generator=generator)[labels] + 3
    features, labels = features.to(device), labels.to(device)
    pivot = features[:CHUNK].mean(0, dtype=torch.float64)
    args = (features, labels, n_classes, pivot)

    def eager() -> Tensor:
        z = features.double() - pivot
        torch.zeros(n_classes, d, dtype=torch.float64, device=device).index_add_(0, labels, z)
        return z.T @ z

    forms: dict[str, Callable[[], object]] = {"eager float64": eager}
    for name in ("reference", "composite"):
        forms[name] = partial(FORMS[name], *args, gram=True, floor=0.0)
    if not dispatch.why_not("class_moments" if device == "cuda" else "class_gram", features):
        forms["native"] = partial(native, *args, gram=True, floor=0.0)
    yield Case(
        name="class_moments 50,000 x 512, 100 classes",
        bytes=4.0 * n * d,
        flops=1.0 * n * d * (d + 1),
        forms=forms,
        note="FLOPs of one half of the symmetric product",
    )
