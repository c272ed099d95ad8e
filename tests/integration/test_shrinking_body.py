"""A body that a method makes smaller: the run resumes, and its export predicts what the run predicted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from hdx.backbones.conv4 import Conv4
from hdx.body import Body
from hdx.config.validate import load_saved
from hdx.datasets.digits import Digits
from hdx.engine.export_model import export_model
from hdx.engine.predict import Model
from hdx.memories._base import Samples
from hdx.methods._base import Method, State, Work
from hdx.methods.frozen import Frozen
from hdx.protocols._base import Session
from hdx.regrow import regrow
from tests.integration.harness import arrays_of, interrupted, run_dir_of, train

WORDS = ("dataset=digits", "method=frozen", "head=lda", "backbone=conv4", "backbone.width=12", "protocol=class_incremental")
WORDS += ("protocol.first=4", "protocol.step=3")


class Thinning(Work):
    """Keeps every other channel of the first block."""

    changes_body = True

    def __init__(self, body: Body) -> None:
        super().__init__("thinning", 1)
        self.body = body

    def step(self, number: int, samples: Samples) -> None:
        assert samples.features(np.arange(3)).shape == (3, 12)
        first = {f"backbone.blocks.0.{name}": value for name, value in self.body.backbone.blocks[0].state_dict().items()}
        thin = {name: value[::2].clone() if value.ndim else value for name, value in first.items()}
        thin["backbone.blocks.1.0.weight"] = self.body.backbone.blocks[1][0].weight[:, ::2].clone()
        self.body.regrow(thin)
        self.body.load_changed(thin)


@pytest.fixture
def thinned(monkeypatch: pytest.MonkeyPatch) -> None:
    def phases(method: Method, session: Session, sessions: list[Session]) -> list[Work]:
        return [] if session.index else [Thinning(method.body)]

    def rebuild(method: Method, state: State) -> None:
        method.body.regrow(state["body"])

    monkeypatch.setattr(Frozen, "phases", phases)
    monkeypatch.setattr(Frozen, "rebuild", rebuild)


def test_it_resumes_and_exports(thinned: None, tmp_path: Path) -> None:
    whole = train(tmp_path / "a", *WORDS)
    assert whole["sessions"][0]["works"][0]["name"] == "thinning" and whole["sessions"][0]["works"][0]["steps"] == 1
    assert "work" in whole["seconds"] and "works" not in whole["sessions"][1]
    interrupted(tmp_path / "b", *WORDS, after=1)
    resumed = train(tmp_path / "b", *WORDS)
    for one, other in zip(arrays_of(whole), arrays_of(resumed), strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    run_dir = run_dir_of(whole)
    about: dict[str, Any] = export_model(load_saved(run_dir.config_file), run_dir, tmp_path / "m.safetensors")
    assert about["regrown"] is True
    model = Model(tmp_path / "m.safetensors", torch.device("cpu"))
    assert model.body.backbone.blocks[0][0].out_channels == 6  # type: ignore[union-attr, index]
    last = arrays_of(whole)[-1]
    found = model.probabilities(Digits(None, tmp_path / "cache").test.fetch(last["index"]).numpy()).argmax(1)
    assert np.array_equal(found.numpy(), last["prediction"])


def test_layers_say_their_width_and_leave_the_rest_alone() -> None:
    body = Conv4(width=8)
    depthwise = nn.Sequential(nn.Conv2d(6, 6, 3, groups=6), nn.LayerNorm(6), nn.Linear(6, 2))
    state = {"0.weight": torch.zeros(4, 1, 3, 3), "0.bias": torch.zeros(4), "1.weight": torch.ones(4), "1.bias": torch.ones(4)}
    state |= {"2.weight": torch.zeros(2, 4), "3.weight": torch.zeros(1)}
    old = depthwise[2].bias
    replaced = regrow(depthwise, state)
    assert len(replaced) == 5 and depthwise[2].bias is old
    assert (depthwise[0].groups, depthwise[0].in_channels, depthwise[2].in_features) == (4, 4, 4)
    assert depthwise[2](depthwise[1](depthwise[0](torch.ones(2, 4, 3, 3)).flatten(1))).shape == (2, 2)
    regrow(body, {"blocks.0.1.running_mean": torch.zeros(4)})
    assert len(body.blocks[0][1].running_mean) == 4  # type: ignore[arg-type, index]
