"""Float32 Gram matrices: the measure of their rounding, when they are taken, and that they change no prediction."""

from __future__ import annotations

import pytest
import torch

from hdx.heads.lda import LDA
from hdx.ops import _gram

D, C = 48, 5


def rows(kind: str, n: int = 8192, d: int = D) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    z = torch.randn(n, d, generator=generator)
    if kind == "one direction":  # all variance but a hundredth along (1, ..., 1)
        z = 0.1 * z + torch.randn(n, 1, generator=generator)
    if kind == "relu":  # many equal values, whose products round alike
        z = z.relu()
    if kind == "decaying":
        z = (z * torch.logspace(0, -2, d)) @ torch.linalg.qr(torch.randn(d, d, generator=generator))[0]
    return z


@pytest.mark.parametrize("kind", ["isotropic", "one direction", "decaying", "relu"])
@pytest.mark.parametrize("floor", [0.0, 0.5])
def test_rounding_is_measured(kind, floor):
    z = rows(kind)
    y = torch.arange(len(z)) % C
    pivot = torch.full((D,), 0.25)
    centred = z - pivot
    gram = sum(_gram.product(part).double() for part in centred.split(_gram.CHUNK))
    exact = centred.double().T @ centred.double()
    sums = torch.zeros(C, D, dtype=torch.float64).index_add_(0, y, centred.double())
    counts = torch.bincount(y)
    means = (sums / counts[:, None])[y]
    within = (centred.double() - means).T @ (centred.double() - means) + len(z) * floor * torch.eye(D)
    values, vectors = torch.linalg.eigh(within)
    root = vectors * values.clamp(min=1e-300).rsqrt()
    harm = torch.linalg.matrix_norm(root.T @ (gram - exact) @ root)
    measured = _gram.rounding(gram, sums, counts, floor, z, pivot)
    assert harm / 2.5 < measured < 4 * harm  # eight probes; the trace of M adds to what they see


def test_rounding_of_a_singular_scatter_is_infinite():
    z = rows("isotropic", 20)
    gram, sums = _gram.product(z).double(), z.double().sum(0)[None]
    args = (gram, sums, torch.tensor([20]))
    assert _gram.rounding(*args, 0.0, z, torch.zeros(D)) == float("inf")
    assert _gram.rounding(*args, 1.0, z, torch.zeros(D)) < 1e-5


def test_product_of_a_transposed_view_and_of_no_rows():
    z = rows("isotropic", 10, 7)
    torch.testing.assert_close(_gram.product(z.T), z @ z.T)
    assert torch.equal(_gram.product(z[:0]), torch.zeros(7, 7))


def samples(scale: float, n: int = 20000):
    """The spread of one direction, askew to the features, is `scale` times that of the others."""
    generator = torch.Generator().manual_seed(0)
    y = torch.randint(C, (n,), generator=generator)
    x = torch.randn(n, D, generator=generator) + 2 * torch.randn(C, D, generator=generator)[y] + 3
    x[:, -1] = scale * x[:, -1]
    return x @ torch.linalg.qr(torch.randn(D, D, generator=generator))[0], y


def fitted(x: torch.Tensor, y: torch.Tensor, **options) -> LDA:
    head = LDA(D, covariance="within", **options)
    head.expand(C)
    head.update(x, y)
    return head


@pytest.mark.parametrize(("scale", "ridge", "taken"), [(1.0, 0.0, True), (1e-4, 0.0, False), (1e-4, 1.0, True)])
def test_taken_where_the_covariance_is_regular_or_regularised(scale, ridge, taken):
    x, y = samples(scale)
    fast, exact = fitted(x, y, ridge=ridge), fitted(x.double(), y, ridge=ridge)
    difference = (fast.moments.gram - exact.moments.gram).abs().max() / len(x)
    assert (difference > 1e-10) == taken
    assert difference < (1e-5 if taken else 1e-13)
    a, b = fast(x), exact(x)
    assert (a - b).abs().max() < (_gram.TOLERANCE if taken else 1e-8) * b.std()
    assert torch.equal(a.argmax(1), b.argmax(1))


@pytest.mark.parametrize("sizes", [(20000,), (3000, 17000), (500, 4500, 9000, 6000), (2500,) * 8])
def test_any_split_gives_the_same_logits_within_the_tolerance(sizes):
    x, y = samples(1.0)
    whole = fitted(x, y, ridge=0.0)
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    head = LDA(D, covariance="within", ridge=0.0)
    head.expand(C)
    for part in order.split(sizes):
        head.update(x[part], y[part])
    a, b = head(x), whole(x)
    assert (a - b).abs().max() < _gram.TOLERANCE * b.std()
    assert torch.equal(a.argmax(1), b.argmax(1))
