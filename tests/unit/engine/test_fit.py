"""One gradient phase: equal to a plain loop, the same bits when it is cut in two, and honest when it diverges."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hdx.engine import stop
from hdx.engine.fit import fit
from hdx.engine.loader import PhaseLoader
from hdx.engine.state import load_phase
from hdx.errors import Interrupted, RunError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.trainers.recipe import Recipe
from tests.unit.engine.conftest import make_body

CPU = torch.device("cpu")
N, EPOCHS = 50, 3


def made(**options: Any) -> tuple[Method, Phase, PhaseLoader]:
    """A linear head on fixed random features, with dropout before it so that seeds matter."""
    torch.manual_seed(0)
    head = Linear(8)
    head.expand(3)
    recipe = Recipe(**{"lr": 0.1, "optimizer": "sgd", "batch_size": 16, "checkpoint_seconds": 3600, **options})
    method = Method(Parts(make_body((1, 8, 8)), head, CrossEntropy(), recipe))
    classifier = nn.Sequential(nn.Dropout(0.3), head)
    features = torch.randn(N, 8, generator=torch.Generator().manual_seed(1))
    phase = Phase("features", np.arange(N), (0, 1, 2), classifier, list(head.parameters()))
    labels = np.arange(N) % 3
    loader = PhaseLoader(features, phase.indices, labels, epochs=EPOCHS, batch_size=16, seed=0, parts=(0, 0), device=CPU)
    return method, phase, loader


def train(parts: tuple[Method, Phase, PhaseLoader], file: Path, report: Any = lambda state: None) -> float | None:
    method, phase, loader = parts
    return fit(method, phase, loader, file=file, seed=0, parts=(0, 0), device=CPU, nodes=1, report=report)


def test_it_is_a_plain_loop(tmp_path: Path) -> None:
    method, phase, loader = made(momentum=0.0, schedule="constant", weight_decay=0.0)
    phase.classifier[0].p = 0.0  # type: ignore[union-attr]
    weight = method.head.weight.detach().clone().double()
    bias = method.head.bias.detach().clone().double()  # type: ignore[operator]
    last: list[float] = []
    for step, (x, y, *_) in enumerate(loader):
        last = [] if step % loader.steps_per_epoch == 0 else last
        p = (x.double() @ weight.T + bias).softmax(1)
        last.append(float(-p[torch.arange(len(y)), y].log().mean()))
        gradient = (p - torch.eye(3).double()[y]) / len(y)
        weight -= 0.1 * gradient.T @ x.double()
        bias -= 0.1 * gradient.sum(0)
    loss = train((method, phase, loader), tmp_path / "p.pt")
    torch.testing.assert_close(method.head.weight.detach().double(), weight, atol=1e-6, rtol=0)
    torch.testing.assert_close(method.head.bias.detach().double(), bias, atol=1e-6, rtol=0)  # type: ignore[operator]
    assert loss == pytest.approx(np.mean(last), abs=1e-6)
    assert not any(parameter.requires_grad for parameter in method.parameters()) and not method.training


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "adamw"])
@pytest.mark.parametrize("cut", [1, 4, 7, 11])
def test_cut_in_two_it_ends_bit_equal(optimizer: str, cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = made(optimizer=optimizer, schedule="cosine")
    loss = train(whole, tmp_path / "whole.pt")
    assert not (tmp_path / "whole.pt").exists()
    first, steps = made(optimizer=optimizer, schedule="cosine"), []
    monkeypatch.setattr(stop, "requested", lambda: (steps.append(1), len(steps) >= cut)[1])
    with pytest.raises(Interrupted, match="gradient phase"):
        train(first, tmp_path / "cut.pt")
    monkeypatch.setattr(stop, "requested", lambda: False)
    second = made(optimizer=optimizer, schedule="cosine")
    state = load_phase(tmp_path / "cut.pt", second[0], second[1].classifier, second[2].total)
    assert state is not None and state["step"] == cut
    assert train(second, tmp_path / "cut.pt") == loss
    assert second[2].start == cut
    assert torch.equal(second[0].head.weight, whole[0].head.weight)
    assert torch.equal(second[0].head.bias, whole[0].head.bias)  # type: ignore[arg-type]


def test_a_checkpoint_after_every_step_changes_nothing(tmp_path: Path) -> None:
    often, never = made(checkpoint_seconds=0), made()
    assert train(often, tmp_path / "often.pt") == train(never, tmp_path / "never.pt")
    assert torch.equal(often[0].head.weight, never[0].head.weight)
    state = torch.load(tmp_path / "often.pt", weights_only=True)
    assert state["step"] == often[2].total - 1  # after the last step the phase is over


def test_a_loss_that_is_not_finite_ends_the_run_with_advice(tmp_path: Path) -> None:
    with pytest.raises(
        RunError, match=r"the loss is (nan|inf) after \d+ of 12 steps: training diverged; try a smaller trainer\.lr"
    ):
        parts = made(lr=1e38, checkpoint_seconds=0)
        train(parts, tmp_path / "p.pt")


def test_clipping_bounds_the_step(tmp_path: Path) -> None:
    method, phase, loader = made(clip_norm=1e-3, momentum=0.0, schedule="constant")
    before = method.head.weight.detach().clone()
    train((method, phase, loader), tmp_path / "p.pt")
    assert float((method.head.weight - before).norm()) <= 0.1 * 1e-3 * loader.total * 1.001
    assert float((method.head.weight - before).norm()) > 0


def test_progress_counts_to_the_end(tmp_path: Path) -> None:
    states: list[dict[str, Any]] = []
    train(made(), tmp_path / "p.pt", states.append)
    assert (states[-1]["step"], states[-1]["steps"], states[-1]["epoch"], states[-1]["epochs"]) == (12, 12, 3, 3)
    assert states[-1]["images_per_s"] > 0


def test_slurm_around_it_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Inside an allocation of four tasks Lightning would take itself for one of four, and refuse."""
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_NAME": "x", "SLURM_NNODES": "2", "SLURM_PROCID": "3"}.items():
        monkeypatch.setenv(name, value)
    found, plain = made(), made()
    train(found, tmp_path / "a.pt")
    for name in ("SLURM_NTASKS", "SLURM_JOB_NAME", "SLURM_NNODES", "SLURM_PROCID"):
        monkeypatch.delenv(name)
    train(plain, tmp_path / "b.pt")
    assert torch.equal(found[0].head.weight, plain[0].head.weight)
