"""class_moments and class_scores against float64: each form, every shape, the same bits for any number of threads."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from hdx.heads.lda import LDA
from hdx.ops import _gram, class_scores, dispatch
from hdx.ops import class_moments as op

C = 6


def samples(n: int, d: int, offset: float = 3.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(n + d)
    labels = torch.randint(C, (n,), generator=generator)
    return torch.randn(n, d, generator=generator) + torch.randn(C, d, generator=generator)[labels] + offset, labels


def exact(x: Tensor, y: Tensor, pivot: Tensor) -> op.Sums:
    z = x.double() - pivot
    one_hot = torch.nn.functional.one_hot(y, C).double()
    return op.Sums(torch.bincount(y, minlength=C), one_hot.T @ z, z.T @ z)


@pytest.fixture(params=["reference", "composite", "native"])
def form(request: pytest.FixtureRequest) -> str:
    if request.param == "native":
        request.getfixturevalue("native")
    return request.param


@pytest.mark.parametrize("shape", [(0, 5), (1, 1), (7, 33), (5000, 67), (4100, 128)], ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("offset", [0.0, 100.0, 1e4])
def test_forms_are_right(form: str, shape: tuple[int, int], dtype: torch.dtype, offset: float) -> None:
    x, y = samples(*shape, offset)
    x = x.to(dtype)
    pivot = x[:100].double().mean(0) if len(x) else torch.zeros(shape[1], dtype=torch.float64)
    found, wanted = op.FORMS[form](x, y, C, pivot, gram=True, floor=0.0), exact(x, y, pivot)
    assert torch.equal(found.counts, wanted.counts)
    assert found.sums.dtype == found.gram.dtype == torch.float64
    assert (found.sums - wanted.sums).abs().max() <= 1e-13 * (1 + x.double().abs().sum())
    scale = wanted.gram.diagonal().max() if len(x) else 1.0
    assert (found.gram - wanted.gram).abs().max() <= (2e-6 if form != "reference" else 1e-13) * scale  # float32 products
    assert torch.equal(found.gram, found.gram.T)


@pytest.mark.parametrize("shape", [(5000, 67), (3000, 128)], ids=str)
def test_the_kernel_rounds_no_more_than_plain_products(native, shape) -> None:
    x, y = samples(*shape)
    pivot = x.mean(0)
    z = x - pivot
    wanted = z.double().T @ z.double()
    error, eager = ((found - wanted).square().mean().sqrt() for found in (torch.ops.hdx.class_gram(x, pivot), z.T @ z))
    assert error <= eager + 1e-8 * wanted.abs().max()


def test_sums_without_a_gram_matrix(form: str) -> None:
    x, y = samples(3000, 20, 100.0)
    pivot = x[:50].double().mean(0)
    found = op.FORMS[form](x, y, C, pivot, gram=False, floor=0.0)
    assert found.gram is None
    torch.testing.assert_close(found.sums, exact(x, y, pivot).sums, rtol=1e-12, atol=1e-9)


def test_blocks_whose_rounding_does_harm_are_taken_in_float64(native) -> None:
    x, y = samples(5000, 40)
    x[:, 0] *= 1e-5
    rotation = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(0)))[0]
    x = x @ rotation
    pivot = x[:100].double().mean(0)
    for floor, right in ((0.0, True), (1.0, False)):
        error = (op.native(x, y, C, pivot, gram=True, floor=floor).gram - exact(x, y, pivot).gram).abs().max()
        assert (error < 1e-8) == right


def test_strided_rows_and_columns(native) -> None:
    wide, (_, y) = torch.randn(3000, 64), samples(3000, 32)
    pivot = torch.zeros(32, dtype=torch.float64)
    for x in (wide[:, :32], wide[:, ::2], wide.T.contiguous().T[:, 32:]):
        found, wanted = (op.native(each, y, C, pivot, gram=True, floor=1.0) for each in (x, x.clone()))
        assert torch.equal(found.gram, wanted.gram) and torch.equal(found.sums, wanted.sums)


def test_the_same_bits_for_any_number_of_threads(native) -> None:
    x, y = samples(5000, 100)
    pivot, before, grams, scores = x.mean(0), torch.get_num_threads(), [], []
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        found = op.class_moments(x, y, C, pivot.double())
        grams.append(found.gram)
        scores.append(class_scores.native(x.double(), pivot.double(), found.sums))
    torch.set_num_threads(before)
    assert all(torch.equal(each, grams[0]) for each in grams) and all(torch.equal(each, scores[0]) for each in scores)


@pytest.mark.parametrize("shape", [(0, 5, 3), (1, 1, 1), (7, 33, 17), (130, 100, 33), (64, 8, 1000)], ids=str)
def test_scores(native, shape) -> None:
    n, d, n_classes = shape
    x, origin, weight = (torch.randn(*size, dtype=torch.float64) for size in ((n, d), (d,), (n_classes, d)))
    found, wanted = class_scores.native(x, origin, weight), (x - origin) @ weight.T
    assert found.shape == wanted.shape
    bound = torch.linalg.vector_norm(x - origin, dim=1)[:, None] * torch.linalg.vector_norm(weight, dim=1)
    assert ((found - wanted).abs() <= 2 * d * 2.3e-16 * bound).all()
    if n:  # each row for itself
        assert torch.equal(torch.cat([class_scores.native(x[i : i + 1], origin, weight) for i in range(n)]), found)
    assert torch.equal(class_scores.native(x.T.contiguous().T, origin, weight), found)


def test_opcheck_and_compile(native) -> None:
    x, y = samples(2100, 20)
    ops, origin = torch.ops.hdx, x.mean(0)
    torch.library.opcheck(ops.class_gram.default, (x, origin))
    torch.library.opcheck(ops.class_probe.default, (x, origin, torch.randn(_gram.PROBES, 20, dtype=torch.float64)))
    torch.library.opcheck(ops.class_scores.default, (x.double(), origin.double(), x[:7].double()))
    compiled = torch.compile(class_scores.class_scores, fullgraph=True, dynamic=True)
    for n in (100, 230):
        args = (x[:n].double(), origin.double(), x[:7].double())
        assert torch.equal(compiled(*args), class_scores.native(*args))
    gram = torch.compile(lambda x, p: ops.class_gram(x, p), fullgraph=True, dynamic=True)
    for n in (100, 230):
        assert torch.equal(gram(x[:n], origin), ops.class_gram(x[:n], origin))


@pytest.mark.parametrize("options", [{}, {"covariance": "within", "ridge": 1e-3, "prior": "empirical"}])
def test_lda_decides_alike_in_every_form(native, options) -> None:
    x, y = samples(5000, 64)
    logits = {}
    for backend in ("native", "composite", "reference"):
        with dispatch.using(backend):
            head = LDA(64, **options)
            head.expand(C)
            for part in torch.arange(len(x)).split(2500):
                head.update(x[part], y[part])
            logits[backend] = head(x)
    for found in logits.values():
        assert (found - logits["reference"]).abs().max() < _gram.TOLERANCE * logits["reference"].std()
        assert torch.equal(found.argmax(1), logits["reference"].argmax(1))
