"""FeCAM: state, masks, splits and edge cases; its values against a loop are in tests/oracle."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.heads._mahalanobis import Columns, Dense
from hdx.heads.fecam import FeCAM

D, C, N = 9, 5, 120
OPTIONS = [{}, {"shared": True}, {"alpha2": 0.0, "tukey": 1.0}]


def samples(seed: int = 0, offset: float = 0.0):
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(C).repeat(2), torch.randint(C, (N - 2 * C,), generator=generator)])
    return (torch.randn(N, D, generator=generator) + 2 * torch.randn(C, D, generator=generator)[y]).relu() + offset, y


def fitted(x, y, c: int = C, **options) -> FeCAM:
    head = FeCAM(D, **options)
    head.expand(c)
    head.update(x, y)
    return head


@pytest.mark.parametrize("options", OPTIONS)
@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 10**6), n_parts=st.integers(1, 9), n_ranks=st.integers(1, 3), offset=st.sampled_from([0.0, 100.0]))
def test_any_split_order_and_sharding(options, seed, n_parts, n_ranks, offset):
    x, y = samples(seed, offset)
    whole = fitted(x, y, **options)
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(N, generator=generator)
    cuts = torch.randint(N + 1, (n_parts - 1,), generator=generator).sort().values.tolist()
    ranks = [FeCAM(D, **options) for _ in range(n_ranks)]
    for head in ranks:
        head.expand(C)
    for number, part in enumerate(torch.tensor_split(order, cuts)):
        ranks[number % n_ranks].update(x[part], y[part])
    for other in ranks[1:]:
        ranks[0].merge(other)
    a, b = ranks[0](x), whole(x)
    assert (a - b).abs().max() < 1e-9
    assert torch.equal(a.argmax(1), b.argmax(1))


@pytest.mark.parametrize("options", OPTIONS)
def test_classes_in_sessions_and_state_round_trip(options):
    x, y = samples()
    head = FeCAM(D, **options)
    for c in range(C):
        head.expand(1)
        head.update(x[y == c], y[y == c])
    head.merge_ranks()
    whole = fitted(x, y, **options)
    assert (head(x) - whole(x)).abs().max() < 1e-9
    again = FeCAM(D, **options)
    again.restore({name: value.clone() for name, value in head.state_dict().items()}, C)
    for each in (head, again):
        each.expand(1)
        each.update(x[:9], torch.full((9,), C))
    assert torch.equal(head(x), again(x))


def test_state_has_a_covariance_for_each_class_or_one():
    assert fitted(*samples()).state_dict()["moments.gram"].shape == (C, D, D)
    assert fitted(*samples(), shared=True).state_dict()["moments.gram"].shape == (D, D)


def test_one_sample_has_the_identity_and_no_sample_is_never_predicted():
    x, y = samples()
    keep = (y != 3) & (y != 4)
    first = int((y == 3).nonzero()[0])
    keep[first] = True
    head = fitted(x[keep], y[keep])
    assert torch.equal(head.correlations()[3], torch.eye(D, dtype=torch.float64))
    logits = head(x)
    assert (logits[:, 4] == -torch.inf).all() and torch.isfinite(logits[:, :4]).all()
    assert logits[first, 3] == 0 == logits[first].max()


def test_dead_features_and_zero_vectors_are_finite():
    x, y = samples()
    x[:, 2] = 0
    x[7] = 0
    for options in OPTIONS:
        assert torch.isfinite(fitted(x, y, **options)(x)).all()


def test_without_shrinkage_a_singular_covariance_is_solved_by_its_pseudo_inverse():
    x, y = samples()
    x = x + torch.rand(N, D, generator=torch.Generator().manual_seed(4))
    few = torch.cat([(y == c).nonzero()[:4, 0] for c in range(C)])  # rank 3 of 9
    head = fitted(x[few], y[few], alpha1=0.0, alpha2=0.0)
    r = head.correlations()
    assert torch.linalg.matrix_rank(r[0], rtol=1e-10, hermitian=True) == 3
    ((_, form),) = head.solve()[1]
    assert isinstance(form, Dense)
    torch.testing.assert_close(form.precisions[0], torch.linalg.pinv(r[0], rtol=1e-10, hermitian=True), rtol=1e-6, atol=1e-6)


def test_transformation_is_odd_and_the_paper_s_where_features_are_not_negative():
    x = torch.tensor([[4.0, 0.0, -9.0]])
    assert FeCAM(3).prepare(x).tolist() == [[2.0, 0.0, -3.0]]
    assert FeCAM(3, tukey=1.0).prepare(x).tolist() == x.tolist()


def test_shrinking_twice_is_shrinking_once_by_three():
    """What the docstring says of the authors' code for CNNs."""
    once = FeCAM(D, alpha1=3.0, alpha2=3.0)
    z = torch.randn(20, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    s = z.T @ z
    twice = s
    for _ in range(2):
        off = (twice.sum() - twice.trace()) / (D * (D - 1))
        twice = twice + twice.trace() / D * torch.eye(D) + off * (1 - torch.eye(D))
    scale = twice.diagonal().rsqrt()
    torch.testing.assert_close(once._shrunk(s[None].clone())[0], twice * scale[:, None] * scale)


def test_scored_in_batches_of_classes(monkeypatch):
    x, y = samples()
    head = fitted(x, y)
    expected = head(x)
    monkeypatch.setattr("hdx.heads._mahalanobis.AT_ONCE", 2 * N * D)
    torch.testing.assert_close(fitted(x, y)(x), expected, rtol=0, atol=1e-12)


def test_episodes_are_classified_from_their_own_support():
    x, y = samples()
    head = FeCAM(D)
    logits = head.classify(x[None, :40], y[None, :40], x[None, 40:], C)
    torch.testing.assert_close(logits[0], fitted(x[:40], y[:40])(x[40:]))
    assert head.n_classes == 0


@pytest.mark.parametrize("options", [{}, {"alpha2": 0.0, "tukey": 1.0}, {"alpha1": 0.3, "alpha2": 0.25}])
@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), offset=st.sampled_from([0.0, 100.0]), dead=st.booleans(), opposed=st.booleans())
def test_few_samples_are_scored_by_columns_as_by_the_whole_matrix(options, seed, offset, dead, opposed):
    d, generator = 64, torch.Generator().manual_seed(seed)
    y = torch.arange(C).repeat_interleave(torch.tensor([1, 2, 7, 16, 40]))
    x = torch.randn(len(y), d, generator=generator).relu() + offset
    if opposed:  # features that fall as others rise: the mean entry beside the diagonal is negative
        x[:, 1::2] = 2 * offset + 3 - x[:, ::2]
    if dead:
        x[:, 5] = 0
    head = FeCAM(d, **options)
    head.expand(C)
    head.update(x, y)
    forms = {tuple(own.tolist()): type(form) for own, form in head.solve()[1]}
    if not opposed:  # else a matrix may be singular, and is left to the pseudo-inverse
        assert forms == {(1, 2, 3): Columns, (0, 4): Dense}
    test = torch.cat([x, torch.randn(50, d, generator=generator) + offset])
    whole = FeCAM(d, **options)
    whole.restore(head.state_dict(), C)
    whole._inverses = lambda counts: [(torch.arange(C), Dense.of(whole.correlations()))]  # type: ignore[method-assign]
    torch.testing.assert_close(head(test), whole(test), rtol=1e-7, atol=1e-9)
