"""Experience replay: which images train, in which batches, what a statistics head learns from, and that it forgets less."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.integration.harness import train
from tests.unit.engine.conftest import make_body
from torch import nn

from hdx.adapters.film import Film
from hdx.errors import ConfigError
from hdx.heads._base import Head
from hdx.heads.linear import Linear
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.memories._base import Samples
from hdx.memories.replay import Replay
from hdx.methods._parts import Parts
from hdx.methods.replay import HalfSampler, ReplayMethod
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

LABELS = np.array([0, 0, 0, 1, 1, 1, 2, 2, 0])
SESSIONS = [
    Session(0, (0, 1), (0, 1), np.arange(6), np.arange(1)),
    Session(1, (2,), (0, 1, 2), np.array([6, 7]), np.arange(1)),
    Session(2, (), (0, 1, 2), np.array([8]), np.arange(1), (0,)),
]
SAMPLES = Samples(LABELS, 64, lambda rows: np.eye(9, dtype=np.float32)[rows], lambda rows: iter(()))
#: a small body on few digits, quick enough for a unit test
SMALL = ("backbone=conv4", "backbone.width=16", "protocol.shots=30", "trainer.epochs=6", "trainer.lr=0.005")


def made(head: type[Head] = Linear, size: int = 4, batch_size: int = 64, **options: Any) -> ReplayMethod:
    body = make_body((1, 8, 8))
    body.attach(Film())
    method = ReplayMethod(Parts(body, head(body.n_features), CrossEntropy(), Recipe(batch_size=batch_size)), **options)
    method.memory = Replay(size=size, choice="random")
    return method


def through(method: ReplayMethod) -> list[Any]:
    """The phase of every session, the rows that the head learns, and whether it starts over."""
    found = []
    for session in SESSIONS:
        method.head.expand(len(session.new_classes))
        (phase,) = method.phases(session, SESSIONS)
        method.memory.keep(session, SAMPLES, session.index)
        method.memorised(session, SAMPLES)
        found.append((phase, method.head_rows(session).tolist(), method.resets_head))
    return found


def test_a_session_trains_on_its_own_images_and_those_kept() -> None:
    method = made()
    (first, *_), (second, *_), (third, *_) = through(method)
    assert first.indices.tolist() == [0, 1, 2, 3, 4, 5] and first.classes == (0, 1)
    assert second.indices[:2].tolist() == [6, 7] and second.classes == (0, 1, 2)
    assert LABELS[second.indices[2:]].tolist() == [0, 0, 1, 1]
    assert third.indices[:1].tolist() == [8] and LABELS[third.indices[1:]].tolist() == [0, 0, 1, 2]
    assert all(phase.classifier is method.head and phase.inputs == "images" for phase in (first, second, third))
    ids = {id(parameter) for parameter in [*method.body.trainable, *method.head.parameters()]}
    assert {id(parameter) for parameter in third.parameters} == ids
    assert all(method.trains_body(session.index) for session in SESSIONS)


def test_a_statistics_head_learns_anew_from_the_sessions_images_and_those_kept() -> None:
    method = made(NCM)
    (first, *_), (second, rows, resets), (third, last, again) = through(method)
    assert [phase.classes for phase in (first, second, third)] == [(0, 1), (0, 1, 2), (0, 1, 2)]
    dropout, linear = second.classifier
    assert isinstance(dropout, nn.Dropout) and dropout.p == 0.5 and linear.weight.shape == (3, method.body.n_features)
    assert resets and again
    assert set(rows) >= {6, 7} and LABELS[rows].tolist() == [0, 0, 1, 2, 2] and len(set(rows)) == len(rows)
    assert set(last) == {8, *method.memory.rows.tolist()}


def test_a_memory_without_room_is_none_and_the_method_finetune() -> None:
    for head in (Linear, NCM):
        found = through(made(head, size=0, half=True))
        assert [phase.indices.tolist() for phase, *_ in found] == [session.train.tolist() for session in SESSIONS]
        assert [(rows, resets) for _, rows, resets in found] == [(session.train.tolist(), False) for session in SESSIONS]
        assert all(phase.sampler is None for phase, *_ in found)
        seen = [(0, 1), (0, 1, 2), (0, 1, 2)] if head is Linear else [(0, 1), (2,), (0,)]
        assert [phase.classes for phase, *_ in found] == seen


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 20), st.integers(2, 17), st.integers(0, 99))
def test_batches_are_half_new_and_half_memory(n_new: int, n_memory: int, batch_size: int, seed: int) -> None:
    sampler, labels = HalfSampler(n_new, batch_size), np.zeros(n_new + n_memory, np.int64)
    batches = sampler.epoch(labels, np.random.default_rng(seed))
    assert len(batches) == sampler.steps(labels)
    for batch in batches:
        assert (batch < n_new).sum() * 2 == len(batch) <= batch_size
        assert batch.max() < n_new + n_memory
    sizes = {len(batch) for batch in batches}
    assert max(sizes) - min(sizes) <= 2
    positions = np.concatenate(batches)
    assert sorted(positions[positions < n_new]) == list(range(n_new))
    again = sampler.epoch(labels, np.random.default_rng(seed))
    assert all((one == other).all() for one, other in zip(batches, again))


def test_draws_from_the_memory_are_uniform_and_in_no_order_in_a_batch() -> None:
    """Chi-square with 9 degrees of freedom: 27.9 at p = 0.001."""
    sampler, rng = HalfSampler(5000, 20), np.random.default_rng(0)
    batches = sampler.epoch(np.zeros(5010, np.int64), rng)
    positions = np.concatenate(batches)
    counts = np.bincount(positions[positions >= 5000] - 5000, minlength=10)
    assert counts.sum() == 5000 and ((counts - 500) ** 2 / 500).sum() < 27.9
    new_at_the_front = np.mean([(batch[:10] < 5000).mean() for batch in batches])
    assert abs(new_at_the_front - 0.5) < 0.02


def test_a_batch_of_one_has_no_half() -> None:
    with pytest.raises(ConfigError, match="trainer.batch_size=1 has no half, take trainer.batch_size=2 or more"):
        made(half=True, batch_size=1).check(LABELS, SESSIONS)
    made(batch_size=1).check(LABELS, SESSIONS)
    made(half=True, batch_size=2).check(LABELS, SESSIONS)


def test_the_attribute_of_modules_that_the_option_is_named_after_stays() -> None:
    assert made(half=True).half().head.weight.dtype == torch.float16


@pytest.mark.parametrize("more", [(), ("method.half=true",), ("head=ncm_cosine",)])
def test_it_forgets_less_than_finetuning(more: tuple[str, ...], tmp_path: Path) -> None:
    naive = train(tmp_path, "+exp=cil_finetune", *SMALL)
    replay = train(tmp_path, "+exp=cil_replay", "memory.size=50", *SMALL, *more)
    assert replay["metrics"]["acc_last"] > naive["metrics"]["acc_last"] + 0.15
    assert [session["memory_images"] for session in replay["sessions"]] == [50] * 5
    assert (replay["memory_images"], replay["memory_bytes"]) == (50, 50 * 64)
    assert (naive["memory_images"], naive["memory_bytes"]) == (0, 0)
