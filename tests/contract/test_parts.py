"""What every pool, loss, memory and protocol keeps."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

from hdx.errors import HdxError
from hdx.losses._base import Loss, Outputs
from hdx.memories._base import Memory, Samples
from hdx.protocols._base import Session
from tests.contract.made import build, classes

POOLS, LOSSES, MEMORIES, PROTOCOLS = (classes(group) for group in ("pool", "loss", "memory", "protocol"))


class Shown(nn.Module):
    """As much of a backbone as a pool looks at."""

    def __init__(self, layout: str) -> None:
        super().__init__()
        self.n_features, self.layout, self.n_prefix_tokens, self.has_cls = 6, layout, int(layout == "tokens"), layout == "tokens"


@pytest.mark.parametrize("layout", ["map", "tokens"])
@pytest.mark.parametrize("name", sorted(POOLS))
def test_a_pool_sees_each_sample_alone_and_its_state_says_all(name: str, layout: str) -> None:
    random = torch.Generator().manual_seed(0)
    shape = (5, 6, 3, 4) if layout == "map" else (5, 1 + 12, 6)
    given = torch.rand(shape, generator=random) + 0.1
    try:
        pool = build("pool", name, Shown(layout))
    except HdxError as refusal:
        assert layout in str(refusal) or "class token" in str(refusal)
        return
    seen = pool(given)
    assert seen.shape == (5, pool.n_features) and torch.isfinite(seen).all()
    torch.testing.assert_close(pool(given[2:3]), seen[2:3])
    other = copy.deepcopy(pool)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.5)
        moved = other(given)
        assert torch.equal(pool(given), seen)
        assert not list(other.parameters()) or not torch.equal(moved, seen)
        other.load_state_dict(pool.state_dict())
        assert torch.equal(other(given), seen)


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_a_loss_gives_each_sample_a_value_and_the_student_a_gradient(name: str) -> None:
    loss: Loss = build("loss", name)
    random = torch.Generator().manual_seed(1)
    logits = torch.randn(6, 4, generator=random, requires_grad=True)
    labels = torch.tensor([0, 1, 2, 3, 0, 1])
    plain = loss(logits, labels)
    assert plain.shape == (6,) and torch.isfinite(plain).all()
    torch.testing.assert_close(loss(logits[2:4], labels[2:4]), plain[2:4])  # of labels alone: of the sample alone
    if not hasattr(loss, "distill"):
        return
    features = torch.randn(6, 5, generator=random, requires_grad=True)
    teacher = Outputs(torch.randn(6, 4, generator=random, requires_grad=True), torch.randn(6, 7, generator=random))
    loss.prepare(5, 7, 4)
    taught = loss.distill(Outputs(logits, features), teacher, labels, epoch=1)
    unlabelled = loss.distill(Outputs(logits, features), teacher, torch.full((6,), -1), epoch=1)
    assert taught.shape == unlabelled.shape == (6,) and torch.isfinite(taught).all() and torch.isfinite(unlabelled).all()
    taught.sum().backward()
    assert logits.grad is not None and logits.grad.any() and teacher.logits.grad is None


@pytest.mark.parametrize("name", sorted(MEMORIES))
def test_a_memory_is_a_function_of_its_seed_and_goes_on_from_its_state(name: str) -> None:
    labels = np.arange(60) % 6
    features = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    samples = Samples(labels, 100, features=lambda rows: features[rows], batches=lambda rows: iter([torch.from_numpy(rows)]))
    sessions = [
        Session(0, (0, 1, 2), (0, 1, 2), np.flatnonzero(labels < 3), np.array([0])),
        Session(1, (3, 4, 5), tuple(range(6)), np.flatnonzero(labels >= 3), np.array([0])),
    ]

    def kept(stop: bool) -> Memory:
        memory: Memory = build("memory", name)
        memory.keep(sessions[0], samples, seed=3)
        if stop:
            state = {key: value.clone() for key, value in memory.state().items()}
            memory = build("memory", name)
            memory.load(state)
        memory.keep(sessions[1], samples, seed=4)
        return memory

    whole, resumed = kept(False), kept(True)
    assert np.array_equal(whole.rows, resumed.rows) and np.array_equal(whole.labels, labels[whole.rows])
    assert len(np.unique(whole.rows)) == len(whole.rows)


@pytest.mark.parametrize("name", sorted(set(PROTOCOLS) - {"episodic"}))
def test_sessions_are_a_function_of_dataset_and_seed(name: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    from hdx.datasets.digits import Digits

    dataset = Digits(None, tmp_path_factory.mktemp("cache"))
    protocol = build("protocol", name)
    view = protocol.view(dataset)

    def arrays(seed: int) -> list[tuple[object, ...]]:
        sessions = build("protocol", name).sessions(view, seed)
        return [(s.new_classes, s.seen_classes, s.train.tobytes(), s.test.tobytes()) for s in sessions]

    assert arrays(3) == arrays(3)
    assert name == "offline" or arrays(3) != arrays(4)
    for session in protocol.sessions(view, 0):
        assert len(np.intersect1d(session.train, np.arange(len(view.train)))) == len(np.unique(session.train))
        assert set(view.test.labels[session.test]) <= set(session.seen_classes)
