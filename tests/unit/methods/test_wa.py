"""WA: aligned norms, its loss, and runs of the engine: cut between aligning and the commit, and better than fine-tuning."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.methods.incremental import LABELS, SESSIONS, images_of, run, samples, small_body, state_of

from hdx.config.validate import load
from hdx.engine import loop
from hdx.errors import ConfigError, Interrupted
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.memories._base import Memory, Samples
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.wa import Wa, align
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe


class FirstOfEach(Memory):
    """The first row of each class."""

    def keep(self, session: Session, samples: Samples, seed: int) -> None:
        seen = np.concatenate([self.rows, session.train])
        self.rows = np.sort([seen[samples.labels[seen] == label][0] for label in session.seen_classes])
        self.labels = samples.labels[self.rows]


def made(**options: Any) -> Wa:
    body = small_body()
    method = Wa(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), **options)
    method.memory = FirstOfEach()
    return method


def begun(method: Wa, index: int) -> Wa:
    """`method` in session `index`; each session before it has ended."""
    for session in SESSIONS[: index + 1]:
        method.start_session(session)
        method.head.expand(len(session.new_classes))
        (phase,) = method.phases(session, SESSIONS)
        assert phase.classes == session.seen_classes and phase.classifier is method.head
        method.begin(phase)
        if session.index < index:
            method.end()
            method.end_session(session, samples())
            method.memory.keep(session, samples(), 0)
    return method.eval()


@settings(max_examples=25, deadline=None)
@given(n_old=st.integers(1, 6), n_new=st.integers(1, 4), seed=st.integers(0, 99), scale=st.sampled_from([1e-3, 1.0, 50.0]))
def test_aligned_norms(n_old: int, n_new: int, seed: int, scale: float) -> None:
    weight = torch.randn(n_old + n_new, 7, generator=torch.Generator().manual_seed(seed))
    weight[n_old:] *= scale
    before = weight.numpy().astype(np.float64)
    gamma = align(weight, n_new)
    norms = np.sqrt((before**2).sum(1))
    assert gamma == pytest.approx(norms[:n_old].mean() / norms[n_old:].mean(), rel=1e-9)
    assert np.array_equal(weight[:n_old].numpy(), before[:n_old].astype(np.float32))
    np.testing.assert_allclose(weight[n_old:].numpy(), gamma * before[n_old:], rtol=1e-6)
    after = np.sqrt((weight.numpy().astype(np.float64) ** 2).sum(1))
    assert after[n_old:].mean() == pytest.approx(after[:n_old].mean(), rel=1e-6)
    assert align(weight, n_new) == pytest.approx(1.0, rel=1e-6)  # once more changes nothing


@pytest.mark.parametrize(("index", "aligned"), [(0, 0), (1, 2), (2, 0)])
def test_only_new_rows_are_aligned_and_no_bias(index: int, aligned: int) -> None:
    """Nothing in the first session, nor in the third, which has no new class."""
    method = begun(made(), index)
    weight, bias = method.head.get_parameter("weight"), method.head.get_parameter("bias")
    with torch.no_grad():
        weight[-2:] *= 3
    old = weight.detach().clone(), bias.detach().clone()
    method.end_session(SESSIONS[index], samples())
    changed = (weight != old[0]).any(1)
    assert changed.tolist() == [False] * (len(weight) - aligned) + [True] * aligned
    assert torch.equal(bias, old[1])
    if aligned:
        assert float(weight[:2].norm(dim=1).mean()) == pytest.approx(float(weight[2:].norm(dim=1).mean()), rel=1e-6)


@pytest.mark.parametrize("t2_scale", [False, True])
@pytest.mark.parametrize(("index", "share"), [(1, 1 / 2), (2, 3 / 4)])
def test_the_loss_of_a_batch_is_the_formula(index: int, share: float, t2_scale: bool) -> None:
    """The third session shows one of four classes again."""
    method = begun(made(temperature=2.0, t2_scale=t2_scale), index)
    with torch.no_grad():
        method.head.get_parameter("weight").mul_(1.3)
    images, labels, previous = images_of(np.arange(4)), torch.tensor([1, 3, 0, 2]), method.previous
    assert previous is not None
    loss = method.training_step(Batch(images, labels, 1 / 4, torch.arange(4)), 0).item()
    with torch.no_grad():
        z, old = method.head(method.body(images)).double(), previous.head(previous.body(images)).double()
    terms = []
    for b in range(4):
        p, log_q = (old[b] / 2).softmax(0), (z[b, : len(old[b])] / 2).log_softmax(0)
        kept = float((p * (p.log() - log_q)).sum()) * (4 if t2_scale else 1)
        terms.append((1 - share) * float(z[b].logsumexp(0) - z[b, labels[b]]) + share * kept)
    assert loss == pytest.approx(np.mean(terms), abs=1e-5)


def test_it_trains_on_the_session_and_the_memory() -> None:
    method = begun(made(), 2)
    assert method.current is not None
    assert method.current.indices.tolist() == [*range(16, 20), 0, 1, 8, 9]
    assert LABELS[method.memory.rows].tolist() == method.memory.labels.tolist() == [4, 1, 3, 0]


def test_heads_without_norms_are_refused() -> None:
    with pytest.raises(ConfigError, match="method=wa aligns the norms .* head=cosine does not look at: take head=linear"):
        load(["+exp=cil_wa", "head=cosine"])
    with pytest.raises(ConfigError, match="method=wa trains the head by gradient descent"):
        load(["+exp=cil_wa", "head=ncm"])


def test_cut_between_aligning_and_the_commit_it_aligns_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("+exp=cil_wa", "trainer.epochs=2", "trainer.checkpoint_seconds=0", "memory.size=20")
    whole = run(tmp_path / "a", *words)
    save, cuts = loop.save_session, []

    def cut(folder: Path, session: int, method: Any) -> None:
        if session == 1 and not cuts:
            cuts.append(method.head.get_parameter("weight").norm(dim=1))
            raise Interrupted("killed before the commit")
        save(folder, session, method)

    monkeypatch.setattr(loop, "save_session", cut)
    with pytest.raises(Interrupted):
        run(tmp_path / "b", *words)
    assert float(cuts[0][:4].mean()) == pytest.approx(float(cuts[0][4:].mean()), rel=1e-5)  # it had aligned
    resumed = run(tmp_path / "b", *words)
    ours, theirs = state_of(resumed), state_of(whole)
    assert list(ours) == list(theirs) and all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_it_beats_fine_tuning_on_digits(tmp_path: Path) -> None:
    wa, finetune = (run(tmp_path, f"+exp={exp}", "trainer.epochs=10") for exp in ("cil_wa", "cil_finetune"))
    assert wa["metrics"]["acc_last"] > finetune["metrics"]["acc_last"] + 0.2
    assert [session["memory_images"] for session in wa["sessions"]] == [80, 160, 200]
