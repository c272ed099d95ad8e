"""Fine-tuning with old classes left out of the softmax: the loss, its gradients, what is refused, and what it is good for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.integration.harness import train
from tests.unit.engine.conftest import make_body
from tests.unit.methods.test_replay import SMALL

from hdx.adapters.full import Full
from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods.finetune import Finetune
from hdx.methods.lwf import Lwf
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

FIRST = Session(0, (5, 2, 7), (5, 2, 7), np.arange(6), np.arange(1))
SECOND = Session(1, (4, 1), (5, 2, 7, 4, 1), np.arange(6, 9), np.arange(1))
AGAIN = Session(2, (0,), (5, 2, 7, 4, 1, 0), np.arange(9, 12), np.arange(1), (2, 0))  # class 2 comes again, at position 1


def made(label_smoothing: float = 0.0) -> Finetune:
    body = make_body((1, 8, 8))
    body.attach(Full())
    return Finetune(Parts(body, Linear(body.n_features), CrossEntropy(label_smoothing=label_smoothing), Recipe()), mask="old")


def losses(method: Finetune, session: Session, labels: list[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """Losses and logits of random features."""
    method.head.expand(len(session.seen_classes) - method.head.n_classes)
    method.begin(method.phases(session, [])[0])
    features = torch.randn(len(labels), method.body.n_features, generator=torch.Generator().manual_seed(1))
    logits = method.head(features)
    place = torch.arange(len(labels))
    return method.sample_losses(features, features, logits, torch.tensor(labels), place), logits.detach().double()


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize(
    ("session", "labels", "columns"), [(FIRST, [0, 2, 1], [0, 1, 2]), (SECOND, [3, 4, 4], [3, 4]), (AGAIN, [5, 1, 1], [1, 5])]
)
def test_the_softmax_is_over_the_sessions_classes(
    session: Session, labels: list[int], columns: list[int], smoothing: float
) -> None:
    found, logits = losses(made(smoothing), session, labels)
    for loss, row, label in zip(found, logits.numpy(), labels):
        log_p = row[columns] - np.log(np.exp(row[columns]).sum())
        target = np.full(len(columns), smoothing / len(columns))
        target[columns.index(label)] += 1 - smoothing
        assert loss.item() == pytest.approx(-(target * log_p).sum(), abs=1e-5)


def test_old_rows_get_no_gradient_and_the_others_do() -> None:
    method = made(0.1)
    found, _ = losses(method, AGAIN, [5, 1, 1])
    found.mean().backward()
    moved = [bool(row.any()) for row in method.head.weight.grad]  # type: ignore[union-attr]
    assert moved == [False, True, False, False, False, True]
    assert method.head.bias.grad.ne(0).tolist() == moved  # type: ignore[union-attr]


def test_without_the_option_all_logits_compete() -> None:
    method = made()
    method.mask = "none"
    found, logits = losses(method, SECOND, [3, 4, 4])
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([3, 4, 4]), reduction="none")
    torch.testing.assert_close(found.double(), expected, atol=1e-5, rtol=0)


def test_only_a_head_that_trains_can_be_masked() -> None:
    with pytest.raises(ConfigError) as caught:
        load(["+exp=cil_finetune_masked", "head=lda"])
    assert caught.value.problems == [
        "method.mask=old masks the logits of a trained head, and head=lda is solved: leave it out, or take head=linear"
    ]
    assert load(["+exp=cil_finetune_masked", "head=cosine"])["method.mask"] == "old"


def test_it_is_better_than_plain_finetuning_over_the_sessions(tmp_path: Path) -> None:
    naive, masked = (train(tmp_path, f"+exp={exp}", *SMALL) for exp in ("cil_finetune", "cil_finetune_masked"))
    assert masked["metrics"]["acc_avg_inc"] > naive["metrics"]["acc_avg_inc"] + 0.03
    assert masked["metrics"]["forgetting"] < naive["metrics"]["forgetting"] - 0.1


def test_only_a_loss_of_the_logits_alone_is_taken_without_them(monkeypatch: pytest.MonkeyPatch) -> None:
    masked = made()
    losses(masked, FIRST, [0, 1])
    unmasked = Finetune(Parts(masked.body, masked.head, CrossEntropy(), Recipe()))
    assert not masked.plain and unmasked.plain
    assert not Lwf(Parts(masked.body, masked.head, CrossEntropy(), Recipe()), mask="none").plain
    taken = torch.zeros(2)
    monkeypatch.setattr(CrossEntropy, "of_linear", lambda *_: taken)
    for method, expected in ((masked, None), (unmasked, taken)):
        method.classifier = method.head
        assert method.linear_losses(torch.randn(2, method.body.n_features), torch.tensor([0, 1])) is expected
