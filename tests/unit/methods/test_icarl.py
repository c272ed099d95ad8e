"""iCaRL: what trains and on what, its own classifier, what the head learns from, and that it forgets less."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.engine.conftest import make_body
from tests.unit.methods.digit_runs import QUICK, interrupted, last_state, predictions, run

from hdx.adapters.film import Film
from hdx.config.validate import load
from hdx.engine.state import load_session, save_session
from hdx.errors import ConfigError
from hdx.heads._base import Head
from hdx.heads.linear import Linear
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.memories._base import Memory, Samples
from hdx.methods._parts import Parts
from hdx.methods.icarl import ICaRL
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

SESSIONS = [
    Session(0, (4, 1), (4, 1), np.array([0, 1, 2]), np.array([0])),
    Session(1, (3,), (4, 1, 3), np.array([7, 8]), np.array([0, 1])),
    Session(2, (), (4, 1, 3), np.array([5]), np.array([0, 1])),  # classes seen again, none of them new
]
NOTHING = Samples(np.zeros(20, np.int64), 64, lambda rows: np.zeros((len(rows), 192), np.float32), lambda rows: iter(()))


class First(Memory):
    """Keeps the first row of every session."""

    def keep(self, session: Session, samples: Samples, seed: int) -> None:
        self.rows = np.append(self.rows, session.train[:1])
        self.labels = samples.labels[self.rows]


def made(head: type[Head] = NCM) -> ICaRL:
    body = make_body((1, 8, 8))
    body.attach(Film())
    method = ICaRL(Parts(body, head(body.n_features), CrossEntropy(), Recipe()))
    method.memory = First()
    return method


def ended(method: ICaRL, session: Session) -> None:
    method.memory.keep(session, NOTHING, 0)
    method.memorised(session, NOTHING)


def test_new_images_and_exemplars_train_body_and_its_own_classifier() -> None:
    method, rows = made(), []
    for session in SESSIONS:
        method.start_session(session)
        old = method.linear.weight.detach().clone()  # type: ignore[union-attr]
        (phase,) = method.phases(session, SESSIONS)
        rows.append(phase.indices.tolist())
        assert phase.classes == session.seen_classes and phase.classifier is method.linear
        assert method.linear is not None and torch.equal(method.linear.weight[: len(old)], old)
        assert method.linear.weight.shape == (len(session.seen_classes), 192)
        assert {id(p) for p in phase.parameters} == {id(p) for p in [*method.body.trainable, *method.linear.parameters()]}
        assert method.trains_body(session.index)
        ended(method, session)
    assert rows == [[0, 1, 2], [7, 8, 0], [5, 0, 7]]


def test_the_previous_model_is_a_copy_of_the_classifier_that_trains() -> None:
    method = made()
    method.start_session(SESSIONS[0])
    assert method.previous is None
    method.phases(SESSIONS[0], SESSIONS)
    method.start_session(SESSIONS[1])
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    assert method.previous is not None and method.linear is not None
    before = method.linear(method.body(images)).detach()
    with torch.no_grad():
        method.linear.weight.zero_()
    torch.testing.assert_close(method.previous.logits(images), before)
    assert method.previous.n_classes == 2 and not method.previous.logits(images).requires_grad


def test_the_head_learns_anew_from_the_exemplars_where_there_are_any() -> None:
    method = made()
    ended(method, SESSIONS[0])
    ended(method, SESSIONS[1])
    assert method.resets_head and method.head_rows(SESSIONS[1]).tolist() == [0, 7]
    method.memory.rows = np.zeros(0, np.int64)  # a memory of size 0
    method.memorised(SESSIONS[1], NOTHING)
    assert not method.resets_head and method.head_rows(SESSIONS[1]).tolist() == [7, 8]


def test_with_a_gradient_head_that_head_trains_and_decides() -> None:
    method = made(Linear)
    method.head.expand(2)
    (phase,) = method.phases(SESSIONS[0], SESSIONS)
    assert method.linear is None and phase.classifier is method.head is method.trained_head
    assert method.extra_state() == {}


def test_classifier_and_exemplars_come_back_at_their_size(tmp_path: Path) -> None:
    saved, fresh = made(), made()
    for session in SESSIONS[:2]:
        saved.head.expand(len(session.new_classes))
        saved.phases(session, SESSIONS)
        ended(saved, session)
    save_session(tmp_path, 1, saved)
    load_session(tmp_path, 1, fresh, 3)
    assert fresh.linear is not None and saved.linear is not None and fresh.linear.n_classes == 3
    assert torch.equal(fresh.linear.weight, saved.linear.weight) and torch.equal(fresh.linear.bias, saved.linear.bias)  # type: ignore[arg-type]
    assert fresh.memory.rows.tolist() == [0, 7]


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_it_forgets_less_than_fine_tuning(activation: str, fine_tuned: dict[str, float], tmp_path: Path) -> None:
    words = (f"method.activation={activation}", "memory.size=60", *QUICK)
    found = run(tmp_path, "+exp=cil_icarl", *words)
    assert found["metrics"]["acc_last"] > fine_tuned["acc_last"] + 0.3
    assert found["metrics"]["acc_avg_inc"] > fine_tuned["acc_avg_inc"] + 0.15
    assert [session["memory_images"] for session in found["sessions"]] == [60, 60, 60]


def test_with_a_memory_of_size_0_each_class_keeps_the_mean_of_its_own_samples(tmp_path: Path) -> None:
    empty = run(tmp_path, "+exp=cil_icarl", "memory.size=0", "protocol.step=5", "protocol.shots=8", "trainer.epochs=2")
    assert [session["memory_images"] for session in empty["sessions"]] == [0, 0]
    counts = next(value for name, value in last_state(empty).items() if name.startswith("head/") and name.endswith("counts"))
    assert counts.tolist() == [8] * 10


def test_stopped_in_a_session_it_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("+exp=cil_icarl", "memory.size=20", "protocol.step=4", "protocol.shots=8", "trainer.epochs=3")
    whole = run(tmp_path / "a", *words)
    interrupted(tmp_path / "b", monkeypatch, *words, after=10)
    assert list((tmp_path / "b").rglob("phase-01-0.pt"))  # in the second session, with a previous model and exemplars
    again = run(tmp_path / "b", *words)
    expected, found = last_state(whole), last_state(again)
    assert expected.keys() == found.keys() and {"extra/linear.weight", "extra/memory.rows"} <= expected.keys()
    assert all(torch.equal(value, found[name]) for name, value in expected.items())
    assert predictions(again) == predictions(whole)


def test_smoothed_labels_are_for_the_softmax() -> None:
    with pytest.raises(ConfigError, match="loss.label_smoothing=0.1 has no effect with method.activation=sigmoid"):
        load(["+exp=cil_icarl", "loss.label_smoothing=0.1"])
    assert load(["+exp=cil_icarl", "loss.label_smoothing=0.1", "method.activation=softmax"])["loss.label_smoothing"] == 0.1


def test_a_head_alone_is_not_worth_training() -> None:
    with pytest.raises(ConfigError, match="method=icarl has nothing to train with adapter=none"):
        load(["+exp=cil_icarl", "adapter=none"])
