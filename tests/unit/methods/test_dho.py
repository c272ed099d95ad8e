"""DHO: two heads learn apart, and how they are mixed is chosen on validation rows and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import softmax
from tests.unit.methods.digit_runs import SMALL, last_state
from tests.unit.methods.incremental import small_body
from tests.unit.methods.taught import FEW, listed, student

from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.datasets._base import ImageSet
from hdx.engine.bank import Bank
from hdx.engine.build import assemble
from hdx.engine.loop import Loop
from hdx.engine.report import Report
from hdx.engine.teacher import build_teacher
from hdx.engine.trained import TrainedBodies
from hdx.heads.dual import Dual
from hdx.losses._base import Outputs
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods import dho
from hdx.methods._base import Batch
from hdx.methods._mix import ALPHAS, BETAS, choose_mix
from hdx.methods._parts import Parts
from hdx.methods.dho import Dho
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir
from hdx.trainers.recipe import Recipe

WORDS = ("+exp=kd_dho", *FEW, "protocol.validation=0.05", "trainer.epochs=1")


def test_the_choice_is_that_of_a_search_by_hand() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    one, other = (
        rng.normal(size=(60, 4)) * 2 + 2.5 * np.eye(4)[np.where(rng.random(60) < 0.6, labels, rng.integers(0, 4, 60))]
        for _ in range(2)
    )
    found = choose_mix(one, other, labels)
    best = None
    for beta in BETAS:
        for alpha in ALPHAS:
            p = alpha * softmax(one, axis=1) + (1 - alpha) * softmax(other / beta, axis=1)
            key = (-np.mean(p.argmax(1) == labels), -np.mean(np.log(p[np.arange(60), labels])), alpha, beta)
            best = key if best is None or key < best else best
    assert best is not None
    assert (found["alpha"], found["beta"], found["acc"]) == (best[2], best[3], -best[0])
    assert found["acc_labels"] == np.mean(one.argmax(1) == labels) and found["acc_teacher"] == np.mean(other.argmax(1) == labels)
    assert found["acc"] >= max(found["acc_labels"], found["acc_teacher"]) and 0 < found["alpha"] < 1
    fixed = choose_mix(one, other, labels, alpha=0.25)
    assert fixed["alpha"] == 0.25 and fixed["acc"] <= found["acc"]
    with pytest.raises(ValueError, match="at least one validation sample"):
        choose_mix(one[:0], other[:0], labels[:0])


def test_each_head_has_the_gradient_of_its_own_term() -> None:
    """Cross-entropy over the labelled half and KL over both halves, each a mean over its own samples."""
    torch.manual_seed(0)
    body = small_body()
    method = Dho(
        Parts(body, Dual(body.n_features), CrossEntropy(), Recipe(batch_size=4)),
        weight_labels=0.5,
        weight_teacher=2.0,
        temperature=2.0,
    )
    method.head.expand(3)
    session = Session(0, (0, 1, 2), (0, 1, 2), np.arange(2), np.arange(1), unlabelled=np.arange(2, 8))
    (phase,) = method.phases(session, [session])
    method.begin(phase)
    labels, taught = torch.tensor([2, -1, 0, -1]), torch.randn(4, 3)
    inputs = torch.randn(4, 3, 16, 16)
    method.teaching = lambda batch: Outputs(taught)
    loss = method.training_step(Batch(inputs, labels, 1 / 4, torch.arange(4)), 0)
    loss.backward()
    with torch.no_grad():
        x = body(inputs)
        z_labels, z_teacher = method.head.both(x)
    p, q, t = z_labels.softmax(1), (z_teacher / 2).softmax(1), (taught / 2).softmax(1)
    kl = (t * (t.log() - q.log())).sum(1)
    ce = -p.log()[[0, 2], [2, 0]]
    expected = 0.5 * ce.mean() + 2.0 * 4 * (kl[[0, 2]].mean() + kl[[1, 3]].mean())
    torch.testing.assert_close(loss.detach(), expected)
    slope_labels = torch.zeros(4, 3)
    for row, label in ((0, 2), (2, 0)):
        slope_labels[row] = 0.5 * (p[row] - torch.eye(3)[label]) / 2
    torch.testing.assert_close(method.head.on_labels.weight.grad, slope_labels.T @ x)
    torch.testing.assert_close(method.head.on_teacher.weight.grad, (2.0 * 4 * (q - t) / 2 / 2).T @ x)


def test_two_heads_learn_from_ten_labels_and_a_teacher(taught: Path) -> None:
    record = student(taught, *WORDS)
    assert record["metrics"]["acc_last"] > 0.7
    (session,) = record["sessions"]
    assert session["n_validation"] == session["selection"]["n"] and session["selection"]["acc"] > 0.7
    state = last_state(record)
    assert float(state["head/alpha"]) == pytest.approx(session["selection"]["alpha"])
    assert float(state["head/beta"]) == session["selection"]["beta"]


def loop_of(folder: Path, taught: Path, *words: str) -> Loop:
    config = absolute_in(load([*WORDS, *words, *SMALL, listed(), f"output_dir={taught}"]))
    assembly = assemble(config.data, build_teacher)
    bank = Bank(folder / "bank", 64, "float32", assembly.device)
    return Loop(config, assembly, RunDir(folder), bank, TrainedBodies(folder / "bodies", "x"), Report())


def test_the_choice_cannot_see_the_test_split(taught: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the mixture is chosen nothing of the test split is read, what it is chosen by are the validation rows' logits and
    labels, and with other labels in the test split it is the same."""
    read: list[tuple[str, np.ndarray]] = []
    calls: list[tuple[Any, ...]] = []
    get = Bank.get

    def heard(self: Bank, body: Any, digest: str, images: ImageSet, indices: np.ndarray, *rest: Any) -> np.ndarray:
        read.append((images.digest, indices))
        return get(self, body, digest, images, indices, *rest)

    def chosen(*arguments: Any) -> dict[str, float]:
        calls.append((len(read), *arguments))
        return choose_mix(*arguments)

    monkeypatch.setattr(Bank, "get", heard)
    monkeypatch.setattr(dho, "choose_mix", chosen)
    selections = []
    for number in range(2):
        loop = loop_of(tmp_path / str(number), taught)
        train, test = loop.dataset.train, loop.dataset.test
        truth = test.labels.copy()
        if number:
            test.labels[:] = (test.labels + 1) % 10
        (record,) = loop.run()
        test.labels[:] = truth
        selections.append(record["selection"])
        n_read, on_labels, on_teacher, labels = calls[-1][:4]
        validation = loop.sessions[0].validation
        assert validation is not None and not set(validation) & set(loop.sessions[0].train)
        assert all(digest == train.digest for digest, _ in read[:n_read]) and np.array_equal(read[n_read - 1][1], validation)
        assert on_labels.shape == on_teacher.shape == (len(validation), 10)
        assert np.array_equal(labels, train.labels[validation])
        assert any(digest == test.digest for digest, _ in read[n_read:])
        read.clear()
    assert selections[0] == selections[1]


def test_given_weights_are_not_chosen(taught: Path) -> None:
    record = student(
        taught, "+exp=kd_dho", *FEW, "protocol.validation=0", "trainer.epochs=1", "method.alpha=0.25", "method.beta=2"
    )
    assert "selection" not in record["sessions"][0] and float(last_state(record)["head/alpha"]) == 0.25
