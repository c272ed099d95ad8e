"""Work without gradients: seeded a step, stopped and resumed bit-equal, honest about a damaged checkpoint."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hdx.adapters.full import Full
from hdx.engine import stop
from hdx.engine.report import describe, place
from hdx.engine.works import carry_out
from hdx.errors import Interrupted
from hdx.heads.lda import LDA
from hdx.losses.cross_entropy import CrossEntropy
from hdx.memories._base import Samples
from hdx.methods._base import Method, Work
from hdx.methods._parts import Parts
from hdx.trainers.recipe import Recipe
from tests.unit.engine.conftest import make_body

SAMPLES = Samples(
    np.zeros(4, np.int64), 64, features=lambda rows: np.ones((len(rows), 2), np.float32), batches=lambda rows: iter(())
)


class Adding(Work):
    """Adds noise to a sum, and to a weight of the body."""

    changes_body = True

    def __init__(self, method: Method) -> None:
        super().__init__("adding", 6)
        self.method, self.total, self.finished = method, torch.zeros(3), 0

    def step(self, number: int, samples: Samples) -> float:
        noise = torch.randn(3)
        self.total = self.total * 1.5 + noise + float(samples.features(np.arange(2)).sum())
        with torch.no_grad():
            self.method.body.trainable[0].add_(float(noise[0]))
        return float(self.total[0])

    def state_dict(self) -> dict[str, Any]:
        return {"total": self.total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.total = state["total"]

    def finish(self) -> None:
        self.finished += 1


def made() -> tuple[Adding, Method]:
    body = make_body((1, 8, 8))
    body.attach(Full())
    method = Method(Parts(body, LDA(body.n_features), CrossEntropy(), Recipe()))
    return Adding(method), method


def carried(work: Work, method: Method, file: Path, seconds: float = 3600, report: Any = lambda state: None) -> None:
    carry_out(work, method, SAMPLES, file=file, seed=0, parts=(0, 1), checkpoint_seconds=seconds, report=report)


@pytest.mark.parametrize("cut", [1, 3, 5])
def test_stopped_and_resumed_it_ends_bit_equal(cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, states = made(), []
    carried(*whole, tmp_path / "whole.pt", report=states.append)
    assert (states[-1]["step"], states[-1]["steps"], states[-1]["work"], whole[0].finished) == (6, 6, "adding", 1)
    assert states[-1]["value"] == float(whole[0].total[0])
    assert (place(states[-1]), describe(states[-1])) == ("adding", f"step 6/6  {states[-1]['value']:.4g}")
    first, asked = made(), []
    monkeypatch.setattr(stop, "requested", lambda: (asked.append(1), len(asked) >= cut)[1])
    with pytest.raises(Interrupted, match="stopped while adding"):
        carried(*first, tmp_path / "cut.pt")
    monkeypatch.setattr(stop, "requested", lambda: False)
    second, steps = made(), []
    monkeypatch.setattr(Adding, "step", lambda self, n, s, step=Adding.step: (steps.append(n), step(self, n, s))[1])
    carried(*second, tmp_path / "cut.pt")
    assert steps == list(range(cut, 6))
    assert torch.equal(second[0].total, whole[0].total)
    assert second[1].body.digest() == whole[1].body.digest()


def test_a_checkpoint_after_every_step_changes_nothing(tmp_path: Path) -> None:
    often, never = made(), made()
    carried(*often, tmp_path / "often.pt", seconds=0)
    carried(*never, tmp_path / "never.pt")
    assert torch.equal(often[0].total, never[0].total)
    assert torch.load(tmp_path / "often.pt", weights_only=True)["step"] == 5 and not (tmp_path / "never.pt").exists()


def test_a_damaged_checkpoint_counts_as_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "cut.pt").write_bytes(b"no checkpoint")
    whole, again = made(), made()
    carried(*whole, tmp_path / "whole.pt")
    with caplog.at_level(logging.WARNING, "hdx"):
        carried(*again, tmp_path / "cut.pt")
    assert "cut.pt is damaged" in caplog.text and "this work starts over" in caplog.text
    assert torch.equal(again[0].total, whole[0].total)
