"""What every head keeps: its state, its classes, its independence of copies, batches and the order in which samples came."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from hdx.heads._base import Head
from tests.contract.made import build, classes

D, CLASSES = 12, 4
KINDS = classes("head")
STATISTICS = sorted(name for name, cls in KINDS.items() if cls.kind == "statistics")  # type: ignore[attr-defined]
GRADIENT = sorted(name for name, cls in KINDS.items() if cls.kind == "gradient")  # type: ignore[attr-defined]
EPISODE = sorted(name for name in KINDS if name not in GRADIENT)  # statistics heads judge episodes too, where they can


def samples(seed: int = 0, per_class: int = 15, n_classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Features [N, D] about a mean of each class, and labels [N], shuffled."""
    random = torch.Generator().manual_seed(seed)
    means = torch.randn(n_classes, D, generator=torch.Generator().manual_seed(9))
    labels = torch.randperm(per_class * n_classes, generator=random) % n_classes
    return means[labels] + 0.7 * torch.randn(len(labels), D, generator=random), labels


def learnt(name: str, cuts: list[int], order: Tensor | None = None) -> Head:
    """A head that took in the samples in pieces that end at `cuts`; classes come as they are needed."""
    torch.manual_seed(0)
    head: Head = build("head", name, D)
    features, labels = samples()
    if order is not None:
        features, labels = features[order], labels[order]
    for part in torch.arange(len(labels)).tensor_split(cuts):
        head.expand(max(0, int(labels[part].max()) + 1 - head.n_classes))
        head.update(features[part], labels[part])
    return head


def close(found: Tensor, wanted: Tensor) -> None:
    """Equal up to what a sample's logits have in common, and to rounding."""
    found, wanted = (x - x.mean(1, keepdim=True) for x in (found.double(), wanted.double()))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("name", STATISTICS)
def test_any_split_and_order_of_the_samples_is_the_fit_on_all(name: str) -> None:
    query = samples(1)[0]
    by_class = samples()[1].argsort(stable=True)
    whole, pieces = learnt(name, [])(query), learnt(name, [7, 8, 40])(query)
    sessions = learnt(name, [15, 30, 45], by_class)(query)  # a session a class, in the order of the labels
    if KINDS[name].order_free:  # type: ignore[attr-defined]
        close(pieces, whole)
        close(sessions, whole)
    for logits in (whole, pieces, sessions):
        assert torch.isfinite(logits).all() and logits.shape == (len(query), CLASSES)


@pytest.mark.parametrize("name", STATISTICS)
def test_a_restored_head_says_the_same_and_goes_on_alike(name: str) -> None:
    query, (more, labels) = samples(1)[0], samples(2)
    first = learnt(name, [20])
    torch.manual_seed(5)
    second: Head = build("head", name, D)
    second.restore(copy.deepcopy(first.state_dict()), first.n_classes)
    assert torch.equal(second(query), first(query))
    for head in (first, second):
        head.update(more, labels)
    assert torch.equal(second(query), first(query))


@pytest.mark.parametrize("name", STATISTICS + GRADIENT)
def test_a_copy_goes_its_own_way(name: str) -> None:
    head = learnt(name, [])
    query = samples(1)[0].repeat(1, getattr(head, "views", 1))
    before = head(query).detach().clone()
    other = copy.deepcopy(head)
    other.expand(1)
    other.update(*samples(3, n_classes=CLASSES + 1))
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(1.0)
        other(query)
    assert torch.equal(head(query), before)


@pytest.mark.parametrize("name", GRADIENT)
def test_a_grown_head_keeps_its_rows_and_every_parameter_learns(name: str) -> None:
    query = samples(1)[0]
    head = learnt(name, [])
    query = query.repeat(1, getattr(head, "views", 1))
    before = {key: value.clone() for key, value in head.state_dict().items()}
    wide = head(query).shape[1]
    head.expand(2)
    kept = head.state_dict()
    assert before.keys() == kept.keys()
    assert all(torch.equal(kept[key][: len(value)] if value.ndim else kept[key], value) for key, value in before.items())
    after = head(query)
    assert after.shape == (len(query), wide // CLASSES * (CLASSES + 2))
    head.train()
    head(query).log_softmax(1)[:, -1].sum().backward()
    assert any(p.grad is not None and p.grad.any() for p in head.parameters())
    head.eval()
    twin: Head = build("head", name, D)
    twin.restore(head.state_dict(), CLASSES + 2)
    torch.testing.assert_close(twin(query), after.detach())


@pytest.mark.parametrize("name", EPISODE)
def test_an_episode_is_judged_by_its_support_alone(name: str) -> None:
    """Logits of the right shape that depend neither on the other episodes of a batch nor on what was judged before."""
    head: Head = build("head", name, D)
    ways, shots, queries = 3, 2, 4
    if type(head).classify is Head.classify and head.for_nearest_means(torch.zeros(1, D)) is None:
        assert type(head).kind == "statistics"  # a head without a closed form for episodes says so
        with pytest.raises(NotImplementedError, match="closed form"):
            head.classify(torch.zeros(1, 2, D), torch.zeros(1, 2, dtype=torch.long), torch.zeros(1, 2, D), 1)
        return
    random = torch.Generator().manual_seed(0)
    means = torch.randn(5, ways, 1, D, generator=random)
    support = (means + 0.5 * torch.randn(5, ways, shots, D, generator=random)).flatten(1, 2)
    query = (means + 0.5 * torch.randn(5, ways, queries, D, generator=random)).flatten(1, 2)
    labels = torch.arange(ways).repeat_interleave(shots).expand(5, -1)
    together = head.classify(support, labels, query, ways)
    assert together.shape == (5, ways * queries, ways) and torch.isfinite(together).all()
    alone = torch.cat([head.classify(support[[e]], labels[[e]], query[[e]], ways) for e in (4, 2, 0)])
    torch.testing.assert_close(alone, together[[4, 2, 0]], rtol=1e-3, atol=1e-3 * float(together.abs().max()))
