"""EWC: what it holds, what it keeps between sessions, its draws, and what it does for digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load, save
from tests.unit.methods.incremental import SESSIONS, images_of, run, samples, small_body, state_of

from hdx.adapters.film import Film
from hdx.config import validate
from hdx.engine import loop
from hdx.errors import ConfigError, Interrupted
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.ewc import Ewc
from hdx.trainers.recipe import Recipe


def made(n_sessions: int = 0, **options: Any) -> Ewc:
    """A method after `n_sessions` sessions, in which nothing trained."""
    body = small_body(Film())
    method = Ewc(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), **options).eval()
    for session in SESSIONS[:n_sessions]:
        method.start_session(session)
        method.head.expand(len(session.new_classes))
        method.phases(session, SESSIONS)
        torch.manual_seed(session.index)
        method.end_session(session, samples())
    return method


def importances(method: Ewc) -> dict[str, torch.Tensor]:
    assert method.consolidated is not None
    return method.consolidated.precision


def test_the_adapter_and_the_head_are_held_and_nothing_else() -> None:
    method = made(1)
    assert len(importances(method)) == len(method.body.trainable) + 2
    assert {name.partition(".")[0] for name in importances(method)} == {"body", "head"}
    assert not any(parameter.requires_grad for parameter in method.parameters()) and not method.training
    before = {name: buffer.clone() for name, buffer in method.body.named_buffers()}
    method.end_session(SESSIONS[0], samples())
    assert all(torch.equal(buffer, before[name]) for name, buffer in method.body.named_buffers())


def test_the_penalty_is_added_once_a_batch() -> None:
    method = made(2, lam=50.0)
    (phase,) = method.phases(SESSIONS[1], SESSIONS)
    with torch.no_grad():
        method.head.get_parameter("weight").add_(0.3)
    method.begin(phase)
    method.eval()
    images, labels = images_of(np.arange(4)), torch.tensor([2, 3, 3, 2])
    penalty = float(method.penalty())
    losses = [float(method.training_step(Batch(images[:n], labels[:n], 1 / n, torch.arange(n)), 0)) for n in (1, 4)]
    method.lam = 0.0
    plain = [float(method.training_step(Batch(images[:n], labels[:n], 1 / n, torch.arange(n)), 0)) for n in (1, 4)]
    assert penalty > 0.1
    np.testing.assert_allclose(np.subtract(losses, plain), penalty, rtol=1e-4)


def test_with_the_mask_old_rows_matter_to_their_own_session_only() -> None:
    """The third session shows class 1 (position 1) alone: of one class the softmax is 1, and nothing matters to it."""
    first, second, third = (importances(made(n)) for n in (1, 2, 3))
    assert torch.equal(second["head.weight"][:2], first["head.weight"]) and (second["head.weight"][2:] > 0).any()
    assert all(torch.equal(second[name], third[name]) for name in second)
    unmasked = importances(made(2, mask="none"))
    assert (unmasked["head.weight"][:2] > first["head.weight"]).any()


@pytest.mark.parametrize("n", [1, 3, 100])
def test_at_most_so_many_samples_drawn_by_the_seed(n: int) -> None:
    seen: list[int] = []

    def batches(rows: np.ndarray) -> Any:
        seen.extend(rows.tolist())
        return iter(images_of(rows).split(2))

    method, given = made(1, fisher_samples=n), samples()
    found = []
    for seed in (0, 0, 1):
        seen.clear()
        method.consolidated = None
        torch.manual_seed(seed)
        method.end_session(SESSIONS[0], type(given)(given.labels, given.image_bytes, given.features, batches))
        found.append((list(seen), importances(method)["head.weight"]))
    assert len(found[0][0]) == len(set(found[0][0])) == min(n, 8) and set(found[0][0]) <= set(range(8))
    assert found[0][0] == found[1][0] and torch.equal(found[0][1], found[1][1])
    assert n != 3 or found[0][0] != found[2][0]


@pytest.mark.parametrize("online", [True, False])
def test_its_state_survives_a_file(online: bool) -> None:
    method, other = made(2, online=online), made()
    state = {name: value.contiguous() for name, value in method.extra_state().items()}
    assert made().extra_state() == {}
    other.head.expand(4)
    other.load_extra(load(save(state)))
    for ours in (method, other):
        with torch.no_grad():
            for parameter in ours.consolidating().values():
                parameter.fill_(0.5)
    assert float(other.penalty()) == float(method.penalty()) > 0
    assert sorted(other.extra_state()) == sorted(state)


def test_options_that_do_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match="method.gamma=0.9 is the decay of method.online=true"):
        validate.load(["+exp=cil_ewc", "method.online=false", "method.gamma=0.9"])
    with pytest.raises(ConfigError, match="method=ewc trains the head by gradient descent, and head=lda"):
        validate.load(["+exp=cil_ewc", "head=lda"])


def test_cut_inside_a_session_it_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("+exp=cil_ewc", "trainer.epochs=2", "trainer.checkpoint_seconds=0", "method.fisher_samples=10")
    whole = run(tmp_path / "a", *words, "method.fisher=sampled")
    save_session, cuts = loop.save_session, []

    def cut(folder: Path, session: int, method: Any) -> None:
        if session == 1 and not cuts:
            cuts.append(session)
            raise Interrupted("killed before the commit")
        save_session(folder, session, method)

    monkeypatch.setattr(loop, "save_session", cut)
    with pytest.raises(Interrupted):
        run(tmp_path / "b", *words, "method.fisher=sampled")
    ours, theirs = state_of(run(tmp_path / "b", *words, "method.fisher=sampled")), state_of(whole)
    assert cuts == [1] and list(ours) == list(theirs)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_it_beats_fine_tuning_on_digits(tmp_path: Path) -> None:
    """Weak as it is in class-incremental learning, it forgets less than half of what fine-tuning does."""
    ewc, finetune = (run(tmp_path, f"+exp={exp}", "trainer.epochs=20")["metrics"] for exp in ("cil_ewc", "cil_finetune"))
    assert ewc["acc_last"] > finetune["acc_last"] + 0.15 and ewc["acc_avg_inc"] > finetune["acc_avg_inc"] + 0.05
    assert ewc["forgetting"] < finetune["forgetting"] - 0.3
