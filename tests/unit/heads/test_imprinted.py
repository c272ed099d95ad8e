"""Imprinted weights: a float64 loop, any split into sessions, trained base weights, state, episodes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from hdx.heads.imprinted import Imprinted

D, C = 6, 5


def samples(n: int = 40, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % C
    return torch.randn(n, D, generator=generator) + 2 * torch.eye(C, D)[y], y


def unit(x: np.ndarray, layer_norm: bool) -> np.ndarray:
    x = (x - x.mean()) / np.sqrt(x.var() + 1e-5) if layer_norm else x
    return x / np.linalg.norm(x)


def loop(x: Tensor, y: Tensor, query: Tensor, ways: int, scale: float, layer_norm: bool) -> np.ndarray:
    """Sample by sample in float64."""
    weights = []
    for c in range(ways):
        own = [unit(v, layer_norm) for v, label in zip(x.double().numpy(), y) if label == c]
        weights.append(np.mean(own, axis=0) / np.linalg.norm(np.mean(own, axis=0)))
    return np.array([[scale * unit(q, layer_norm) @ w for w in weights] for q in query.double().numpy()])


def fitted(**options: object) -> Imprinted:
    head = Imprinted(D, **options)  # type: ignore[arg-type]
    head.expand(C)
    head.update(*samples())
    return head


@pytest.mark.parametrize("layer_norm", [True, False])
def test_it_is_the_float64_loop(layer_norm: bool) -> None:
    x, y = samples()
    query, _ = samples(17, seed=1)
    found = fitted(scale=16.0, layer_norm=layer_norm)(query)
    np.testing.assert_allclose(found.numpy(), loop(x, y, query, C, 16.0, layer_norm), atol=1e-10)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(40)), st.lists(st.integers(0, 40), max_size=4))
def test_any_split_and_order_gives_the_same(order: list[int], cuts: list[int]) -> None:
    x, y = samples()
    head, rows = Imprinted(D), torch.tensor(order)
    head.expand(2)
    head.expand(C - 2)
    bounds = [0, *sorted(cuts), 40]
    for start, end in zip(bounds, bounds[1:]):
        head.update(x[rows[start:end]], y[rows[start:end]])
        head(x)
    torch.testing.assert_close(head(x), fitted()(x), atol=1e-10, rtol=0)


def test_a_class_without_samples_is_never_predicted() -> None:
    head = fitted()
    head.expand(2)
    assert (head(samples()[0])[:, C:] == -torch.inf).all()


def test_trained_classes_keep_their_weights_and_new_ones_are_imprinted() -> None:
    x, _ = samples()
    head, weight = fitted(), torch.randn(2, D, generator=torch.Generator().manual_seed(3))
    imprinted = head(x)
    head.take_base(weight)
    w = (weight.double() / weight.double().norm(dim=1, keepdim=True)).numpy()
    expected = np.array([[20 * unit(v, True) @ each for each in w] for v in x.double().numpy()])
    np.testing.assert_allclose(head(x)[:, :2].numpy(), expected, atol=1e-10)
    assert torch.equal(head(x)[:, 2:], imprinted[:, 2:])
    weight.zero_()  # the head has its own copy
    np.testing.assert_allclose(head(x)[:, :2].numpy(), expected, atol=1e-10)


def test_trained_classes_need_no_samples() -> None:
    head = Imprinted(D)
    head.expand(3)
    head.take_base(torch.eye(2, D))
    logits = head(samples()[0])
    assert torch.isfinite(logits[:, :2]).all() and (logits[:, 2] == -torch.inf).all()


@pytest.mark.parametrize("shape", [(6, D), (2, D + 1), (D,)])
def test_weights_that_do_not_fit_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=rf"weights \[B <= 5, 6\], got \[{shape[0]}"):
        fitted().take_base(torch.ones(shape))


@pytest.mark.parametrize("n_base", [0, 2])
def test_state_round_trip_and_continuation_are_exact(n_base: int) -> None:
    x, y = samples()
    head = fitted()
    if n_base:
        head.take_base(torch.randn(n_base, D, generator=torch.Generator().manual_seed(3)))
    state = {name: value.clone() for name, value in head.state_dict().items()}
    assert state["base"].shape == (n_base, D) and state["base"].dtype == torch.float64
    again = Imprinted(D)
    again.expand(2)
    again.update(x[:4], y[:4] % 2)
    again.take_base(torch.ones(1, D))
    again(x)  # a solution made before the restore must not survive it
    again.restore(state, C)
    assert torch.equal(again(x), head(x))
    for each in (head, again):
        each.expand(1)
        each.update(x[:7] + 2, torch.full((7,), C))
    assert torch.equal(again(x), head(x))


def test_in_inference_mode_and_then_outside() -> None:
    x, y = samples()
    head = Imprinted(D)
    with torch.inference_mode():
        head.expand(C)
        head.update(x[:20] * 1, y[:20])
        head.take_base(torch.eye(2, D) * 1)
        head(x)
    head.update(x[20:], y[20:])
    reference = fitted()
    reference.take_base(torch.eye(2, D))
    torch.testing.assert_close(head(x), reference(x), atol=1e-10, rtol=0)


@pytest.mark.parametrize("layer_norm", [True, False])
@pytest.mark.parametrize("labels", [[0, 0, 1, 1, 2, 2], [2, 0, 1, 0, 0, 2]])
def test_episodes_are_the_loop_and_know_nothing_of_the_heads_own_classes(labels: list[int], layer_norm: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(4, 6, D, generator=generator), torch.randn(4, 7, D, generator=generator)
    y = torch.tensor(labels).expand(4, 6)
    head = fitted(scale=10.0, layer_norm=layer_norm)
    head.take_base(torch.eye(2, D))
    before = head(query[0])
    found = head.classify(support, y, query, 3)
    for e in range(4):
        np.testing.assert_allclose(found[e].numpy(), loop(support[e], y[e], query[e], 3, 10.0, layer_norm), atol=1e-4)
    assert torch.equal(head(query[0]), before)


def test_an_episodes_logits_stand_beside_those_of_the_base_classes() -> None:
    """Disjoint logits of novel classes and `forward` over the base classes are the joint head's, side by side."""
    x, y = samples()
    base, novel = Imprinted(D), Imprinted(D)
    base.expand(3)
    base.update(x[y < 3], y[y < 3])
    novel.expand(C)
    novel.update(x, y)
    query, _ = samples(9, seed=1)
    episode = base.classify(x[y >= 3][None], y[y >= 3][None] - 3, query[None], 2)[0]
    side_by_side = torch.cat([base(query).float(), episode], dim=1)
    torch.testing.assert_close(side_by_side, novel(query).float(), atol=1e-4, rtol=0)
    assert Imprinted.joint


def test_the_bound_on_memory_covers_what_is_held() -> None:
    """Inputs, and the larger of: support normalised with one intermediate, or query normalised with one, means and logits."""
    s, q, w = 25, 75, 5
    held = (s + q) * D + max(2 * s * D, 2 * (q + w) * D + 2 * q * w)
    assert Imprinted(D).episode_floats(s, q, w) >= held
