"""The law of the statistics heads: any split into sessions, any order and any sharding give the logits of one pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.heads.lda import LDA
from hdx.heads.ncm import NCM
from hdx.heads.ridge import Ridge

D, C, N = 12, 6, 90
HEADS = {
    "lda_total": lambda: LDA(D),
    "lda_within": lambda: LDA(D, covariance="within", ridge=1e-2, prior="empirical"),
    "ridge": lambda: Ridge(D, ridge=1e-2),
    "ncm_euclidean": lambda: NCM(D),
    "ncm_cosine": lambda: NCM(D, metric="cosine"),
}


def samples(offset: float, seed: int):
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(C), torch.randint(C, (N - C,), generator=generator)])
    x = torch.randn(N, D, generator=generator) @ torch.randn(D, D, generator=generator)
    return x + 2 * torch.randn(C, D, generator=generator)[y] + offset, y


def check_same(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (a - b).abs().max() < 1e-5
    assert torch.equal(a.argmax(1), b.argmax(1))


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), offset=st.sampled_from([0.0, 100.0]), n_parts=st.integers(1, 9), n_ranks=st.integers(1, 4))
def test_any_split_order_and_sharding(name, seed, offset, n_parts, n_ranks):
    x, y = samples(offset, seed)
    whole = HEADS[name]()
    whole.expand(C)
    whole.update(x, y)
    rng = np.random.default_rng(seed)
    order = torch.from_numpy(rng.permutation(N))
    cuts = np.sort(rng.integers(0, N + 1, n_parts - 1)).tolist()  # empty parts are allowed
    ranks = [HEADS[name]() for _ in range(n_ranks)]
    for head in ranks:
        head.expand(C)
    for part in torch.tensor_split(order, cuts):
        ranks[rng.integers(n_ranks)].update(x[part], y[part])
    for other in ranks[1:]:
        ranks[0].merge(other)
    check_same(whole(x), ranks[0](x))


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), offset=st.sampled_from([0.0, 100.0]), step=st.integers(1, 3))
def test_classes_that_arrive_in_sessions(name, seed, offset, step):
    x, y = samples(offset, seed)
    whole = HEADS[name]()
    whole.expand(C)
    whole.update(x, y)
    head = HEADS[name]()
    for first in range(0, C, step):
        head.expand(step)
        new = (y >= first) & (y < first + step)
        head.update(x[new], y[new])
        if first + step < C:
            assert torch.isfinite(head(x)).all()
    check_same(whole(x), head(x)[:, :C])


@pytest.mark.parametrize("name", ["lda_total", "lda_within", "ncm_euclidean"])
def test_a_common_offset_of_100_loses_nothing(name):
    x, y = samples(0.0, 3)
    x = (x * 1024).round() / 1024  # so that adding 100 is exact in float32, and any difference is the head's own
    heads = []
    for offset in (0.0, 100.0):
        head = HEADS[name]()
        head.expand(C)
        for part in torch.arange(N).split(17):
            head.update(x[part] + offset, y[part])
        heads.append(head(x + offset))
    assert ((x + 100) - 100 == x).all()
    assert (heads[0] - heads[1]).abs().max() < 1e-9


def test_moments_are_those_of_float64_loops():
    x, y = samples(100.0, 5)
    head = LDA(D)
    head.expand(C)
    for part in torch.arange(N).split(13):
        head.update(x[part], y[part])
    total = head.moments.total()
    gram, sums = np.zeros((D, D)), np.zeros((C, D))
    for row, label in zip(x.numpy().astype(np.float64), y.numpy()):
        z = row - total.pivot.numpy()
        gram += np.outer(z, z)
        sums[label] += z
    np.testing.assert_allclose(total.gram.numpy(), gram, rtol=1e-12, atol=1e-10)
    np.testing.assert_allclose(total.sums.numpy(), sums, rtol=1e-12, atol=1e-10)
    assert total.counts.tolist() == np.bincount(y, minlength=C).tolist()
    np.testing.assert_allclose(total.pivot.numpy(), x[:13].double().mean(0).numpy(), rtol=1e-15)
