"""USKD on digits, in sessions as well."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.unit.methods.digit_runs import interrupted, last_state, run
from tests.unit.methods.incremental import small_body

from hdx.backbones._base import Block
from hdx.backbones.conv4 import Conv4
from hdx.errors import ConfigError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.uskd import Uskd
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

SESSIONS = ("protocol=class_incremental", "protocol.step=4", "protocol.shots=20")


def test_a_backbone_that_names_no_blocks_is_refused() -> None:
    class Bare(Conv4):
        def named_blocks(self) -> list[Block]:
            return []

    body = small_body()
    body.backbone = Bare(width=6)
    method = Uskd(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()))
    with pytest.raises(ConfigError, match="backbone Bare has no block -2: it names no blocks"):
        method.check(np.zeros(1, np.int64), [])


def test_weights_of_zero_leave_the_cross_entropy() -> None:
    body = small_body()
    method = Uskd(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()), alpha=0.0, beta=0.0, mu=0.0)
    method.head.expand(3)
    session = Session(0, (0, 1, 2), (0, 1, 2), np.arange(4), np.arange(1))
    (phase,) = method.phases(session, [session])
    method.begin(phase)
    inputs, labels = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    loss = method.training_step(Batch(inputs, labels, 1 / 4, torch.arange(4)), 0)
    method.end()
    expected = torch.nn.functional.cross_entropy(method.head(body(inputs)), labels)
    torch.testing.assert_close(loss.detach(), expected.detach())


def test_it_learns_digits(tmp_path: Path) -> None:
    assert run(tmp_path, "+exp=kd_uskd", "trainer.epochs=2")["metrics"]["acc_last"] > 0.8


def test_stopped_in_a_later_session_it_ends_bit_equal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    words = ("+exp=kd_uskd", *SESSIONS, "trainer.epochs=3", "memory=replay", "memory.size=20")
    undisturbed = last_state(run(tmp_path / "a", *words))
    interrupted(tmp_path / "b", monkeypatch, *words, after=17)
    resumed = last_state(run(tmp_path / "b", *words))
    assert all(torch.equal(undisturbed[name], resumed[name]) for name in undisturbed)
