"""DER++: the loss against a loop in float64, what is stored and when, batches, ranks, and that it forgets less."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.engine.conftest import make_body
from tests.unit.methods.digit_runs import QUICK, interrupted, last_state, predictions, run

from hdx.adapters.film import Film
from hdx.config.validate import load
from hdx.engine.state import load_session, save_session
from hdx.errors import ConfigError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.memories._base import Memory, Samples
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.der import DerPP, ReplaySampler, squared_errors
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

FIRST = Session(0, (0, 1), (0, 1), np.arange(6), np.arange(1))
SECOND = Session(1, (2,), (0, 1, 2), np.arange(6, 11), np.arange(1))
THIRD = Session(2, (), (0, 1, 2), np.arange(11, 13), np.arange(1))  # no new class
CLASS_OF = np.array([0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 0, 1])
IMAGES = torch.randn(13, 3, 32, 32, generator=torch.Generator().manual_seed(0))


class Given(Memory):
    """Keeps what a test says."""

    def hold(self, *rows: int) -> None:
        self.rows, self.labels = np.array(rows, np.int64), CLASS_OF[list(rows)]

    def keep(self, session: Session, samples: Samples, seed: int) -> None:
        """What it has."""


def made(**options: Any) -> DerPP:
    body = make_body((1, 8, 8))
    body.attach(Film())
    torch.manual_seed(1)
    method = DerPP(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe(batch_size=4)), **options)
    method.memory = Given()
    return method


@torch.no_grad()
def logits_of(method: DerPP, rows: np.ndarray) -> torch.Tensor:
    return method.head(method.body(IMAGES[rows]))


def samples_of(method: DerPP) -> Samples:
    with torch.no_grad():
        features = method.body(IMAGES).numpy()
    return Samples(CLASS_OF, 64, lambda rows: features[rows], lambda rows: iter(()))


def session_of(method: DerPP, session: Session, *keeps: int) -> None:
    """Without training: the head grows, the weights move, the memory chooses."""
    method.head.expand(len(session.new_classes))
    method.phases(session, [FIRST, SECOND, THIRD])
    with torch.no_grad():
        method.head.weight.normal_(std=0.3)  # type: ignore[union-attr, operator]
    method.memory.hold(*keeps)  # type: ignore[attr-defined]
    method.memorised(session, samples_of(method))


def cross_entropy(z: np.ndarray, label: int) -> float:
    return math.log(sum(math.exp(value - z[label]) for value in z))


def squared_error(z: np.ndarray, stored: np.ndarray, later: str) -> float:
    known = [y for y in range(len(stored)) if not math.isnan(stored[y])]
    terms = [(z[y] - stored[y]) ** 2 for y in known]
    for y in set(range(len(z))) - set(known):
        if later != "free":
            terms.append((z[y] - (min(stored[k] for k in known) if later == "lowest" else 0.0)) ** 2)
    return sum(terms) / len(terms)


@pytest.mark.parametrize("later", ["lowest", "zero", "free"])
@pytest.mark.parametrize(("alpha", "beta"), [(0.3, 0.5), (0.7, 0.0), (0.0, 0.4), (0.0, 0.0)])
def test_the_loss_is_that_of_a_plain_loop_however_a_batch_is_cut(alpha: float, beta: float, later: str) -> None:
    method = made(alpha=alpha, beta=beta, later=later)
    session_of(method, FIRST, 1, 4, 5)
    session_of(method, SECOND, 1, 5, 8)
    (phase,) = method.phases(THIRD, [])
    method.begin(phase)
    order, labels = np.random.default_rng(3), CLASS_OF[phase.indices]
    batch = phase.sampler.epoch(labels, order)[0] if phase.sampler else np.arange(2)
    logits, stored = logits_of(method, np.arange(13)).double().numpy(), method.stored.double().numpy()
    terms: dict[str, list[float]] = {"own": [], "alpha": [], "beta": []}
    for position in batch:
        row = phase.indices[position]
        if position < 2:
            terms["own"].append(cross_entropy(logits[row], CLASS_OF[row]))
        elif alpha and position < 5:
            terms["alpha"].append(squared_error(logits[row], stored[[1, 5, 8].index(row)], later))
        else:
            terms["beta"].append(cross_entropy(logits[row], CLASS_OF[row]))
    assert [len(each) for each in terms.values()] == [2, 2 * (alpha > 0), 2 * (beta > 0)]
    own, on_logits, on_labels = (float(np.mean(each)) if each else 0.0 for each in terms.values())
    expected = own + alpha * on_logits + beta * on_labels
    for world in (1, 2, 3):  # the mean over ranks of their losses, as DDP has it
        shares = np.array_split(batch, world)
        losses = [step(method, phase.indices, share, world / len(batch)) for share in shares if len(share)]
        assert sum(losses) / world == pytest.approx(expected, rel=1e-5)


def step(method: DerPP, indices: np.ndarray, share: np.ndarray, weight: float) -> float:
    rows = indices[share]
    batch = Batch(IMAGES[rows], torch.from_numpy(CLASS_OF[rows]), weight, torch.from_numpy(share))
    return method.training_step(batch, 0).item()


@pytest.mark.parametrize("later", ["lowest", "zero", "free"])
def test_gradients_are_finite_where_nothing_was_stored(later: str) -> None:
    stored = torch.tensor([[1.0, -2.0, torch.nan], [0.5, 0.0, 3.0]])
    logits = torch.randn(2, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    squared_errors(logits, stored, later).sum().backward()
    assert logits.grad is not None and logits.grad.isfinite().all()
    untouched = logits.grad == 0
    assert untouched.tolist() == [[False, False, later == "free", later == "free"], [False, False, False, later == "free"]]


def test_logits_are_those_of_the_model_when_a_row_entered_and_stay() -> None:
    method = made()
    session_of(method, FIRST, 1, 4, 5)
    entered = logits_of(method, np.array([1, 4, 5]))
    torch.testing.assert_close(method.stored, entered)
    session_of(method, SECOND, 1, 5, 8)
    assert torch.equal(method.stored[:2, :2], entered[[0, 2]]) and method.stored[:2, 2].isnan().all()
    torch.testing.assert_close(method.stored[2:], logits_of(method, np.array([8])))
    session_of(method, THIRD, 4, 8)  # 4 left and came back
    torch.testing.assert_close(method.stored[:1], logits_of(method, np.array([4])))
    assert not torch.allclose(method.stored[0, :2], entered[1], atol=1e-2)
    session_of(method, THIRD)
    assert method.stored.shape == (0, 3)


def test_stored_logits_come_back_bit_by_bit(tmp_path: Path) -> None:
    saved, fresh = made(), made()
    session_of(saved, FIRST, 1, 4)
    session_of(saved, SECOND, 4, 7)
    save_session(tmp_path, 1, saved)
    load_session(tmp_path, 1, fresh, 3)
    assert torch.equal(fresh.stored.view(torch.int32), saved.stored.view(torch.int32))  # NaN as well
    assert fresh.stored_rows.tolist() == fresh.memory.rows.tolist() == [4, 7]


def test_the_first_session_is_plain_and_later_ones_name_each_row_once_a_term() -> None:
    method = made()
    method.head.expand(2)
    (phase,) = method.phases(FIRST, [])
    assert phase.sampler is None and phase.indices.tolist() == [0, 1, 2, 3, 4, 5]
    session_of(made_first := made(), FIRST, 3, 1)
    (phase,) = made_first.phases(SECOND, [])
    assert phase.indices.tolist() == [6, 7, 8, 9, 10, 3, 1, 3, 1] and phase.classes == (0, 1, 2)
    assert {id(p) for p in phase.parameters} == {id(p) for p in [*made_first.body.trainable, *made_first.head.parameters()]}


@settings(max_examples=40, deadline=None)
@given(
    n_own=st.integers(1, 60),
    n_memory=st.integers(1, 40),
    n_terms=st.integers(1, 2),
    size=st.integers(1, 16),
    seed=st.integers(0, 9),
)
def test_every_batch_has_as_many_samples_of_each_term(n_own: int, n_memory: int, n_terms: int, size: int, seed: int) -> None:
    sampler = ReplaySampler(n_own, n_memory, n_terms, size)
    labels = np.zeros(n_own + n_terms * n_memory, np.int64)
    batches = sampler.epoch(labels, np.random.default_rng(seed))
    assert len(batches) == sampler.steps(labels) == math.ceil(n_own / size)
    owned = np.concatenate([batch[batch < n_own] for batch in batches])
    assert sorted(owned.tolist()) == list(range(n_own))  # each once an epoch
    for batch in batches:
        counts = np.bincount(batch, minlength=len(labels))
        n = int(counts[:n_own].sum())
        assert 0 < n <= size and len(batch) == (1 + n_terms) * n
        for own in counts[n_own:].reshape(n_terms, n_memory):
            assert own.sum() == n and own.max() - own.min() <= 1
    again = sampler.epoch(labels, np.random.default_rng(seed))
    assert all(np.array_equal(one, other) for one, other in zip(batches, again))


@pytest.mark.parametrize("method", ["der", "der_pp"])
def test_it_forgets_less_than_fine_tuning(method: str, fine_tuned: dict[str, float], tmp_path: Path) -> None:
    words = ("method.alpha=1", f"method={method}", "memory.size=80", *QUICK)
    found = run(tmp_path, "+exp=cil_der_pp", *words)
    margin = 0.3 if method == "der_pp" else 0.1
    assert found["metrics"]["acc_last"] > fine_tuned["acc_last"] + margin
    assert found["metrics"]["acc_avg_inc"] > fine_tuned["acc_avg_inc"] + margin / 2
    assert [session["memory_images"] for session in found["sessions"]] == [80, 80, 80]


def test_a_memory_of_size_0_is_fine_tuning(tmp_path: Path) -> None:
    words = ("protocol.step=5", "protocol.shots=8", "trainer.epochs=2")
    empty, plain = run(tmp_path, "+exp=cil_der_pp", "memory.size=0", *words), run(tmp_path, "+exp=finetune", *words)
    assert predictions(empty) == predictions(plain)
    assert empty["images_trained"] == plain["images_trained"] == 160


def test_stopped_in_a_session_it_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("+exp=cil_der_pp", "memory.size=20", "protocol.step=4", "protocol.shots=8", "trainer.epochs=3")
    whole = run(tmp_path / "a", *words)
    interrupted(tmp_path / "b", monkeypatch, *words, after=14)
    assert list((tmp_path / "b").rglob("phase-02-0.pt"))  # in the third session, with logits of the first two
    again = run(tmp_path / "b", *words)
    expected, found = last_state(whole), last_state(again)
    assert expected.keys() == found.keys() and expected["extra/memory.logits"].shape == (20, 10)
    assert expected["extra/memory.logits"].isnan().any()
    assert all(value.numpy().tobytes() == found[name].numpy().tobytes() for name, value in expected.items())
    assert predictions(again) == predictions(whole)


def test_a_head_in_closed_form_is_refused() -> None:
    with pytest.raises(ConfigError, match="method=der_pp trains the head by gradient descent, and head=lda is solved"):
        load(["+exp=cil_der_pp", "head=lda"])
    assert load(["+exp=cil_der_pp", "head=cosine"])["head.name"] == "cosine"
