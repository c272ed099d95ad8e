"""RanPAC: state, masks, sessions, splits and errors; its values against other implementations are in tests/oracle."""

from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.errors import RunError
from hdx.heads import _penalty
from hdx.heads._products import Products, packed_size
from hdx.heads.ranpac import RanPAC

D, C, N = 10, 5, 240


def samples(seed: int = 0, n: int = N):
    generator = torch.Generator().manual_seed(seed)
    y = torch.cat([torch.arange(C), torch.randint(C, (n - C,), generator=generator)])
    return 0.7 * torch.randn(n, D, generator=generator) + torch.randn(C, D, generator=generator)[y], y


def fitted(x, y, c: int = C, **options) -> RanPAC:
    head = RanPAC(D, **{"projections": 60} | options)
    head.expand(c)
    head.update(x, y)
    return head


def close(a: torch.Tensor, b: torch.Tensor) -> None:
    assert (a - b).abs().max() < 1e-6 * b.abs().max()
    assert torch.equal(a.argmax(1), b.argmax(1))


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), n_parts=st.integers(1, 9), ends=st.booleans(), projections=st.sampled_from([60, 500]))
def test_with_a_given_ridge_any_split_into_sessions_is_one_pass(seed, n_parts, ends, projections):
    x, y = samples(seed)
    whole = fitted(x, y, ridge=10.0, projections=projections)
    head = RanPAC(D, projections=projections, ridge=10.0)
    head.expand(C)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(seed))
    cuts = torch.randint(N + 1, (n_parts - 1,), generator=torch.Generator().manual_seed(seed)).sort().values
    for part in torch.tensor_split(order, cuts.tolist()):
        head.update(x[part], y[part])
        if ends:
            head.merge_ranks()
    close(head(x), whole(x))


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 10**6), size=st.integers(1, N), projections=st.sampled_from([60, 500]))
def test_the_rule_is_blind_to_order_and_chunks_within_a_session(seed, size, projections):
    x, y = samples(seed)
    whole = fitted(x, y, projections=projections)
    head = RanPAC(D, projections=projections)
    head.expand(C)
    for part in torch.randperm(N, generator=torch.Generator().manual_seed(seed)).split(size):
        head.update(x[part], y[part])
    close(head(x), whole(x))
    assert head.chosen == whole.chosen


def test_the_rule_looks_at_the_last_session_only():
    x, y = samples()
    x = torch.cat([x, x[:40]])
    y = torch.cat([y, torch.randint(C, (40,), generator=torch.Generator().manual_seed(3))])  # labels of no use at the end
    head, alone = fitted(x[:N], y[:N]), fitted(x[N:], y[N:])
    head.merge_ranks()
    first = head.chosen.item()
    head.update(x[N:], y[N:])
    head.merge_ranks()
    alone.merge_ranks()
    assert head.chosen == alone.chosen != first
    whole = fitted(x, y)
    whole.merge_ranks()
    for a, b in zip(vars(head.total()).values(), vars(whole.total()).values()):  # the sums are exact all the same
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-4)


def test_a_session_ends_at_merge_ranks_or_when_logits_are_asked_for():
    x, y = samples()
    heads = [fitted(x[:100], y[:100]) for _ in range(2)]
    heads[0].merge_ranks()
    heads[1](x)
    for head in heads:
        head.update(x[100:], y[100:])
        head.merge_ranks()
        head.merge_ranks()  # nothing more to end
    assert torch.equal(heads[0](x), heads[1](x))
    assert heads[0].counts.sum() == N


def test_a_session_too_small_for_two_parts_keeps_the_ridge():
    x, y = samples()
    head = fitted(x, y)
    head.merge_ranks()
    before = head.chosen.item()
    head.update(x[:1], y[:1])
    assert torch.isfinite(head(x)).all()
    assert head.chosen == before
    assert fitted(x[:1], y[:1]).chosen == 1


def test_large_and_small_sessions_choose_alike():
    """By systems of the size of the projection, and of the number of samples."""
    x, y = samples()
    head = fitted(x, y, projections=100)
    features, held = head._waiting, _penalty.held_out(x)  # 240 > 100 samples: they are sums already
    assert not features and 20 < held.sum() < 80
    by_sums = list(_penalty.errors_of_sums(head._fit, head._held))
    by_samples = list(_penalty.errors_of_samples(head.project, 100, x, y))
    assert len(by_sums) == len(by_samples) == len(_penalty.GRID)
    torch.testing.assert_close(torch.tensor(by_sums), torch.tensor(by_samples), rtol=1e-4, atol=0)


def test_held_out_is_a_fifth_and_depends_on_the_values_alone():
    x = torch.randn(20000, D, generator=torch.Generator().manual_seed(0))
    held = _penalty.held_out(x)
    assert abs(held.double().mean() - 0.2) < 0.01
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert torch.equal(_penalty.held_out(x[order]), held[order])
    assert torch.equal(_penalty.held_out(x.half()), _penalty.held_out(x.half().float()))


def test_ties_go_to_the_largest_penalty():
    assert _penalty.choose(iter([(10.0, 3.0), (1.0, 2.0), (0.1, 2.0 * (1 + 1e-12)), (0.01, 2.5)])) == 1.0
    assert _penalty.choose(iter([])) is None


@pytest.mark.parametrize("ridge", [None, 10.0])
def test_state_round_trip_and_continuation_are_exact(ridge):
    x, y = samples()
    head = fitted(x[:150], y[:150], ridge=ridge)
    state = {name: value.clone() for name, value in head.state_dict().items()}
    assert state.keys() == {"triangle", "sums", "counts", "chosen"}  # the projection is drawn again
    again = RanPAC(D, projections=60, ridge=ridge)
    again.restore(state, C)
    assert torch.equal(again(x), head(x))
    for each in (head, again):
        each.expand(1)
        each.update(x[150:] + 1, torch.full((N - 150,), C))
        each.merge_ranks()
    assert torch.equal(again(x), head(x))
    assert again.chosen == head.chosen


def test_projection_depends_on_its_seed_alone():
    torch.manual_seed(0)
    a = RanPAC(D, projections=70)
    state = torch.get_rng_state()
    torch.manual_seed(5)
    b, other = RanPAC(D, projections=70), RanPAC(D, projections=70, projection_seed=1)
    assert torch.equal(a.projection, b.projection)
    assert not torch.equal(a.projection, other.projection)
    torch.manual_seed(0)
    assert torch.equal(torch.get_rng_state(), state)
    assert abs(a.projection.std() - 1) < 0.05 and abs(a.projection.mean()) < 0.1


def test_a_class_without_samples_is_never_predicted_and_may_come_later():
    x, y = samples()
    head = fitted(x, y, c=C + 2)
    logits = head(x)
    assert (logits[:, C:] == -torch.inf).all() and torch.isfinite(logits[:, :C]).all()
    head.update(x[:20] + 4, torch.full((20,), C + 1))
    assert torch.isfinite(head(x)[:, C + 1]).all()
    assert (head(x[:20] + 4).argmax(1) == C + 1).all()


def test_update_in_inference_mode_then_outside():
    x, y = samples()
    head = RanPAC(D, projections=60)
    with torch.inference_mode():
        head.expand(C)
        head.update(x[:100] * 1, y[:100] * 1)
        head(x)
    head.update(x[100:], y[100:])
    other = fitted(x[:100], y[:100])
    other(x)
    other.update(x[100:], y[100:])
    close(head(x), other(x))


def test_deepcopy_is_independent_and_features_are_copied():
    x, y = samples()
    head = fitted(x, y, projections=500)
    x0 = x.clone()
    x.zero_()  # the caller's own array
    twin = copy.deepcopy(head)
    twin.update(x0 + 1, y)
    close(head(x0), fitted(x0, y, projections=500)(x0))
    assert not torch.equal(twin(x0), head(x0))


def test_errors_name_the_culprit():
    x, y = samples()
    head = fitted(x, y)
    with pytest.raises(ValueError, match=r"labels in \[0, 5\), got 9"):
        head.update(x[:1], torch.tensor([9]))
    with pytest.raises(ValueError, match=r"features \[N, 10\]"):
        head.update(x[:, :3], y)
    x[3, 2] = torch.nan
    with pytest.raises(RunError, match="1 of 240 feature vectors hold NaN"):
        head.update(x, y)


@pytest.mark.parametrize("m", [1, 511, 512, 513, 1100])
def test_packed_triangle_is_the_gram_matrix(m):
    h = torch.randn(40, m, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.arange(40) % 3
    products = Products.empty(m, 3)
    assert len(products.triangle) == packed_size(m) <= m * (m + 512) / 2 + 512 * 512
    products.add(h[:25], y[:25])
    products.add(h[25:], y[25:])
    gram = h.T @ h
    for start, end, panel in products.panels():
        torch.testing.assert_close(panel, gram[start:end, :end])
    factor = products.factor(2.0)
    torch.testing.assert_close(factor @ factor.T, gram + 2 * torch.eye(m, dtype=torch.float64))
    weights = products.solve(2.0)
    target = torch.nn.functional.one_hot(y).double()
    assert products.squared_error(weights) == pytest.approx(float((target - h @ weights).square().sum()), abs=1e-8)
