"""The linear and cosine heads: rows that grow, formulas, training."""

from __future__ import annotations

import math

import pytest
import torch

from hdx.heads.cosine import Cosine
from hdx.heads.linear import Linear


@pytest.mark.parametrize("make", [Linear, Cosine])
def test_expand_keeps_old_rows_and_follows_the_seed(make):
    rows = []
    for _ in range(2):
        torch.manual_seed(3)
        head = make(8)
        head.expand(5)
        old = {name: value.clone() for name, value in head.state_dict().items()}
        head.expand(3)
        assert all(torch.equal(head.state_dict()[name][:5], value) for name, value in old.items())
        rows.append(head.weight.detach().clone())
    assert torch.equal(*rows)
    assert rows[0].shape == (8, 8)
    assert 0 < rows[0][5:].abs().max() <= 1 / math.sqrt(8)
    assert head(torch.randn(4, 8)).shape == (4, 8)


def test_linear_formula_and_options():
    torch.manual_seed(0)
    x = torch.randn(5, 7)
    head = Linear(7)
    head.expand(3)
    torch.testing.assert_close(head(x), x @ head.weight.T + head.bias)
    bare = Linear(7, bias=False)
    bare.expand(3)
    torch.testing.assert_close(bare(x), x @ bare.weight.T)
    assert [sum(p.numel() for p in h.parameters()) for h in (head, bare)] == [24, 21]


def test_cosine_ignores_lengths_and_is_bounded_by_the_scale():
    torch.manual_seed(0)
    x = torch.randn(5, 7)
    head = Cosine(7, scale=10.0)
    head.expand(3)
    expected = 10 * torch.nn.functional.cosine_similarity(x[:, None], head.weight[None], dim=2)
    torch.testing.assert_close(head(x), expected)
    torch.testing.assert_close(head(100 * x), expected)
    torch.testing.assert_close(head(head.weight.detach()).diagonal(), torch.full((3,), 10.0))
    with torch.autocast("cpu", torch.bfloat16):
        assert head(x).dtype == torch.float32


def test_learned_scale_gets_a_gradient():
    torch.manual_seed(0)
    head = Cosine(7, learn_scale=True)
    head.expand(3)
    loss = torch.nn.functional.cross_entropy(head(torch.randn(6, 7)), torch.tensor([0, 1, 2, 0, 1, 2]))
    loss.backward()
    assert head.log_scale.grad.abs() > 0
    fixed = Cosine(7)
    fixed.expand(3)
    assert [name for name, _ in fixed.named_parameters()] == ["weight"]


@pytest.mark.parametrize("make", [Linear, Cosine, lambda d: Cosine(d, learn_scale=True)])
def test_training_separates_and_the_state_restores(make):
    torch.manual_seed(0)
    y = torch.arange(60) % 3
    x = torch.randn(60, 8) + 4 * torch.eye(8)[y]
    head = make(8)
    head.expand(3)
    optimiser = torch.optim.SGD(head.parameters(), lr=0.5)
    for _ in range(50):
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(head(x), y).backward()
        optimiser.step()
    assert (head(x).argmax(1) == y).float().mean() > 0.95
    again = make(8)
    again.restore(head.state_dict(), 3)
    assert torch.equal(again(x), head(x))


def test_update_of_a_gradient_head_does_nothing():
    head = Linear(4)
    head.expand(2)
    before = head.weight.detach().clone()
    head.update(torch.randn(3, 4), torch.tensor([0, 1, 1]))
    head.merge_ranks()
    assert torch.equal(head.weight, before)
