"""NCM, LDA and ridge: values, masks, state and errors."""

from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from hdx.errors import RunError
from hdx.heads.lda import LDA
from hdx.heads.ncm import NCM
from hdx.heads.ridge import Ridge

MAKERS = [lambda d: LDA(d), lambda d: Ridge(d, ridge=0.1), lambda d: NCM(d), lambda d: NCM(d, metric="cosine")]


def samples(n: int = 40, d: int = 6, c: int = 4, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % c
    return torch.randn(n, d, generator=generator) + y[:, None], y


def fitted(make, c: int = 4):
    x, y = samples()
    head = make(6)
    head.expand(c)
    head.update(x, y)
    return head, x, y


def test_ncm_euclidean_is_the_negative_squared_distance():
    head, x, y = fitted(lambda d: NCM(d))
    means = torch.stack([x[y == c].double().mean(0) for c in range(4)])
    expected = -(x.double()[:, None] - means[None]).square().sum(2)
    torch.testing.assert_close(head(x), expected, atol=1e-12, rtol=1e-12)


def test_ncm_cosine_normalises_before_and_after_averaging():
    head, x, y = fitted(lambda d: NCM(d, metric="cosine"))
    unit = F.normalize(x.double(), dim=1)
    means = torch.stack([F.normalize(unit[y == c].mean(0), dim=0) for c in range(4)])
    torch.testing.assert_close(head(x), unit @ means.T, atol=1e-12, rtol=1e-12)


def test_ncm_keeps_no_gram_matrix():
    assert NCM(6).state_dict().keys() == {"moments.pivot", "moments.counts", "moments.sums"}
    assert all(value.dtype in (torch.float64, torch.int64) for value in LDA(6).state_dict().values())


@pytest.mark.parametrize("make", MAKERS)
def test_a_class_without_samples_is_never_predicted(make):
    head, x, _ = fitted(make, c=6)
    logits = head(x)
    assert logits.shape == (40, 6)
    assert (logits[:, 4:] == -torch.inf).all()
    assert torch.isfinite(logits[:, :4]).all()


@pytest.mark.parametrize("make", MAKERS)
def test_one_sample_a_class(make):
    head = make(6)
    head.expand(2)
    x, _ = samples(2)
    head.update(x, torch.tensor([0, 1]))
    assert head(x).argmax(1).tolist() == [0, 1]


@pytest.mark.parametrize("ridge", [0.0, 1.0])
@pytest.mark.parametrize("covariance", ["total", "within"])
def test_lda_of_a_single_sample_is_finite(ridge, covariance):
    head = LDA(6, ridge=ridge, covariance=covariance)
    head.expand(1)
    head.update(torch.ones(1, 6), torch.tensor([0]))
    assert torch.isfinite(head(torch.randn(3, 6))).all()


@pytest.mark.parametrize("make", MAKERS)
def test_state_round_trip_and_continuation_are_exact(make):
    head, x, y = fitted(make)
    state = {name: value.clone() for name, value in head.state_dict().items()}
    again = make(6)
    again.expand(2)
    again(x)  # a solution made before the restore must not survive it
    again.restore(state, 4)
    assert again.n_classes == 4
    assert torch.equal(again(x), head(x))
    for h in (head, again):
        h.expand(1)
        h.update(x[:7] + 2, torch.full((7,), 4))
    assert torch.equal(again(x), head(x))


@pytest.mark.parametrize("make", MAKERS)
def test_update_in_inference_mode_then_outside(make):
    head, x, y = fitted(make)
    other = make(6)
    with torch.inference_mode():
        other.expand(4)
        other.update(x[:20] * 1, y[:20])
        other(x)
    other.update(x[20:], y[20:])
    assert (other(x) - head(x)).abs().max() < 1e-9


def test_deepcopy_is_independent():
    head, x, y = fitted(lambda d: LDA(d))
    twin = copy.deepcopy(head)
    before = head(x)
    twin.update(x + 1, y)
    assert torch.equal(head(x), before)
    assert not torch.equal(twin(x), before)


def test_half_precision_features_are_taken_as_they_are():
    x, y = samples()
    a, b = LDA(6), LDA(6)
    for head, features in ((a, x.half()), (b, x.half().double())):
        head.expand(4)
        head.update(features, y)
    assert torch.equal(a(x), b(x))


@pytest.mark.parametrize("make", MAKERS)
def test_errors_name_the_culprit(make):
    head, x, y = fitted(make)
    with pytest.raises(ValueError, match=r"labels in \[0, 4\), got 9"):
        head.update(x[:2], torch.tensor([0, 9]))
    with pytest.raises(ValueError, match=r"features \[N, 6\]"):
        head.update(x[:, :5], y)
    x[3, 2] = torch.nan
    before = head(x[:3])
    with pytest.raises(RunError, match="1 of 40 feature vectors hold NaN"):
        head.update(x, y)
    assert torch.equal(head(x[:3]), before)


def test_empirical_prior_adds_the_log_share():
    x, _ = samples()
    y = torch.tensor([0] * 30 + [1] * 10)
    logits = []
    for prior in ("uniform", "empirical"):
        head = LDA(6, prior=prior)
        head.expand(2)
        head.update(x, y)
        logits.append(head(x))
    expected = torch.tensor([0.75, 0.25], dtype=torch.float64).log().expand(40, 2)
    torch.testing.assert_close(logits[1] - logits[0], expected, atol=1e-12, rtol=0)


def test_an_empty_batch_changes_nothing():
    head, x, _ = fitted(lambda d: LDA(d))
    before = head(x)
    head.update(x[:0], torch.zeros(0, dtype=torch.int64))
    assert torch.equal(head(x), before)
