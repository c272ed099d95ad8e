"""LwF: its loss on a batch, what it keeps, and that it forgets less than fine-tuning."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.methods.incremental import SESSIONS, images_of, run, small_body
from torch.nn import functional as F

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.lwf import Lwf
from hdx.trainers.recipe import Recipe


def in_session(index: int, **options: object) -> Lwf:
    """A method that has begun session `index`, whose weights have moved since it began."""
    body = small_body()
    method = Lwf(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), **options)  # type: ignore[arg-type]
    for session in SESSIONS[: index + 1]:
        method.start_session(session)
        method.head.expand(len(session.new_classes))
        (phase,) = method.phases(session, SESSIONS)
    method.begin(phase)
    with torch.no_grad():
        for parameter in method.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    return method.eval()


@pytest.mark.parametrize("mask", ["old", "none"])
@pytest.mark.parametrize("index", [1, 2])
def test_the_loss_of_a_batch_is_the_formula(mask: str, index: int) -> None:
    method = in_session(index, lam=0.7, temperature=3.0, mask=mask)
    images, previous = images_of(np.arange(5)), method.previous
    labels = torch.tensor([2, 3, 2, 3, 3]) if index == 1 else torch.ones(5, dtype=torch.int64)
    assert previous is not None and previous.n_classes == (2 if index == 1 else 4)
    loss = method.training_step(Batch(images, labels, 1 / 5, torch.arange(5)), 0).item()
    with torch.no_grad():
        z = method.head(method.body(images)).double()
        old = previous.head(previous.body(images)).double()
    columns = {1: [2, 3], 2: [1]}[index] if mask == "old" else list(range(4))
    terms = []
    for b in range(5):
        own = float(z[b, columns].logsumexp(0) - z[b, labels[b]])
        p, log_q = (old[b] / 3).softmax(0), (z[b, : len(old[b])] / 3).log_softmax(0)
        terms.append(own + 0.7 * 9 * float((p * (p.log() - log_q)).sum()))
    assert loss == pytest.approx(np.mean(terms), abs=1e-5)


def test_the_first_session_is_plain_training() -> None:
    method = in_session(0)
    images, labels = images_of(np.arange(4)), torch.tensor([0, 1, 1, 0])
    assert method.previous is None
    with torch.no_grad():
        expected = F.cross_entropy(method.head(method.body(images)), labels)
    assert float(method.training_step(Batch(images, labels, 1 / 4, torch.arange(4)), 0)) == pytest.approx(float(expected))


def test_the_mask_leaves_old_rows_to_the_distillation() -> None:
    """Without distillation no gradient reaches the old rows; with it they get one, and the previous model gets none."""
    for lam, moves in ((0.0, False), (1.0, True)):
        method = in_session(1, lam=lam)
        method.training_step(Batch(images_of(np.arange(4)), torch.tensor([2, 3, 3, 2]), 1 / 4, torch.arange(4)), 0).backward()
        gradient = method.head.get_parameter("weight").grad
        assert gradient is not None and bool(gradient[:2].any()) is moves and bool(gradient[2:].any())
        assert method.previous is not None
        assert not any(p.requires_grad for part in (method.previous.body, method.previous.head) for p in part.parameters())


def test_it_keeps_no_image_and_needs_a_head_to_distil() -> None:
    assert not Lwf.uses_memory and Lwf.keeps_previous
    with pytest.raises(ConfigError, match="method=lwf trains the head by gradient descent, and head=lda .* take head=linear"):
        load(["+exp=cil_lwf", "head=lda"])
    with pytest.raises(ConfigError, match="memory=replay has no effect with method=lwf"):
        load(["+exp=cil_lwf", "memory=replay"])


def test_it_beats_fine_tuning_on_digits(tmp_path: Path) -> None:
    lwf, finetune = (run(tmp_path, f"+exp={exp}", "trainer.epochs=20")["metrics"] for exp in ("cil_lwf", "cil_finetune"))
    assert lwf["acc_last"] > finetune["acc_last"] + 0.1
    assert lwf["forgetting"] < finetune["forgetting"] - 0.2
