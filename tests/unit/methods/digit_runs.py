"""Small class-incremental runs on scikit-learn's digits, in this process, with a body that trains in seconds."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.engine import stop
from hdx.engine.fit import Control
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import Interrupted
from hdx.store.rundir import RunDir

#: one thread, so that bits can be compared
SMALL = ("backbone=conv4", "backbone.width=12", "accelerator=cpu", "threads=1", "trainer.lr=0.005", "trainer.batch_size=20")
QUICK = ("protocol.step=4", "protocol.shots=20", "trainer.epochs=8")


def run(folder: Path, *overrides: str) -> dict[str, Any]:
    """The record of a run, which goes on where it was interrupted."""
    config = absolute_in(load([*overrides, *SMALL, f"output_dir={folder}"]))
    return launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), io.StringIO())


def interrupted(folder: Path, monkeypatch: pytest.MonkeyPatch, *overrides: str, after: int) -> None:
    """A run that is asked to stop once it has trained so many steps."""
    steps: list[int] = []
    whole = Control.on_train_batch_end

    def counted(control: Control, *rest: Any) -> None:
        steps.append(1)
        whole(control, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(Control, "on_train_batch_end", counted)
        patch.setattr(stop, "requested", lambda: len(steps) >= after)
        with pytest.raises(Interrupted):
            run(folder, *overrides)


def last_state(record: dict[str, Any]) -> dict[str, torch.Tensor]:
    """What the last session left behind."""
    checkpoints = RunDir(Path(record["run_dir"])).checkpoints
    return load_file(max(checkpoints.glob("session-*.safetensors")))


def predictions(record: dict[str, Any]) -> list[list[int]]:
    """Of every session."""
    run_dir = RunDir(Path(record["run_dir"]))
    return [run_dir.predictions(session["index"])["prediction"].tolist() for session in record["sessions"]]
