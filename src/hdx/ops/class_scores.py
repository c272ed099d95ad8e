"""Linear scores in float64: what the statistics heads make of features once they are solved."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import torch
from torch import Tensor

from hdx.ops import dispatch
from hdx.ops.bench import Case

FEW = 64  # rows for which packing the weight is not worth its time

dispatch.declare(
    "class_scores", "(Tensor features, Tensor origin, Tensor weight) -> Tensor", dtypes=(torch.float64,), devices=("cpu",)
)


@torch.library.register_fake("hdx::class_scores")
def _fake(features: Tensor, origin: Tensor, weight: Tensor) -> Tensor:
    return features.new_empty(len(features), len(weight))


def class_scores(features: Tensor, origin: Tensor, weight: Tensor) -> Tensor:
    """(x - origin) . w_c of each sample and class, [B, C] float64.

    Right to D * 1e-16 of |x - origin| |w_c|. In the native form a sample's scores do not depend on the other samples, nor on
    the number of threads.

    Args:
        features: [B, D] float64.
        origin: [D] float64, near the features' mean: the nearer, the fewer digits a common offset costs.
        weight: [C, D] float64.
    """
    form = "reference" if features.device.type != "cpu" or len(features) < FEW else dispatch.choose("class_scores", features)
    return FORMS[form](features, origin, weight)


def reference(features: Tensor, origin: Tensor, weight: Tensor) -> Tensor:
    """By the BLAS, which is the composite form too."""
    return (features - origin) @ weight.T


def native(features: Tensor, origin: Tensor, weight: Tensor) -> Tensor:
    """By the C++ kernel."""
    if features.stride(1) != 1:
        features = features.contiguous()
    return torch.ops.hdx.class_scores(features, origin, weight.contiguous())


FORMS = {"native": native, "composite": reference, "reference": reference}


def cases(device: str) -> Iterator[Case]:
    """1,024 features of 512 against 100 classes (see `hdx.ops.bench`)."""
    if device != "cpu":
        return
    features, weight = torch.randn(1024, 512, dtype=torch.float64), torch.randn(100, 512, dtype=torch.float64)
    origin = torch.randn(512, dtype=torch.float64)
    forms = {"eager": partial(reference, features, origin, weight)}
    if not dispatch.why_not("class_scores", features):
        forms["native"] = partial(native, features, origin, weight)
    yield Case(
        name="class_scores 1,024 x 512, 100 classes",
        bytes=8.0 * (1024 * 512 + 100 * 512 + 1024 * 100),
        flops=2.0 * 2 * 1024 * 512 * 100,
        forms=forms,
        note="FLOPs counted twice: the ceiling is that of float32",
    )
