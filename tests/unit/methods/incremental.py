"""Small parts for the tests of class-incremental methods: digits, a body that trains in seconds, and whole runs of the engine."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hdx.adapters._base import Adapter
from hdx.adapters.full import Full
from hdx.backbones.conv4 import Conv4
from hdx.body import Body
from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.datasets.transforms import EvalTransform
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.memories._base import Samples
from hdx.pools.avg import Avg
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir

#: three sessions of 4, 4 and 2 digits, 20 images each, and a body of 5,000 parameters
DIGITS = ("protocol.step=4", "protocol.shots=20", "backbone=conv4", "backbone.width=12", "trainer.lr=0.003")
SMALL = ("accelerator=cpu", "threads=1", "seed=0")

#: two classes, then two new ones, then an old one and nothing new
SESSIONS = [
    Session(0, (4, 1), (4, 1), np.arange(0, 8), np.array([0])),
    Session(1, (3, 0), (4, 1, 3, 0), np.arange(8, 16), np.array([0])),
    Session(2, (), (4, 1, 3, 0), np.arange(16, 20), np.array([0]), train_classes=(1,)),
]
LABELS = np.array([4, 1] * 4 + [3, 0] * 4 + [1] * 4)


def small_body(adapter: Adapter | None = None) -> Body:
    """A narrow Conv4 on images [3, 16, 16]."""
    torch.manual_seed(0)
    backbone = Conv4(width=6)
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (3, 16, 16)), "32", {"backbone": "conv4"})
    body.attach(adapter or Full())
    return body


def images_of(rows: np.ndarray) -> torch.Tensor:
    """[n, 3, 16, 16], of each row its own."""
    return torch.stack([torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(int(row))) for row in rows])


def samples() -> Samples:
    """Of `SESSIONS`, in batches of three."""
    return Samples(
        LABELS,
        3 * 16 * 16,
        features=lambda rows: np.zeros((len(rows), 2), np.float32),
        batches=lambda rows: iter(images_of(rows).split(3)),
    )


def config_of(folder: Path, *words: str) -> Any:
    """The checked config of a run on digits."""
    return absolute_in(load([words[0], *DIGITS, *words[1:], *SMALL, f"output_dir={folder}"]))


def run(folder: Path, *words: str) -> dict[str, Any]:
    """The record of a run on digits, which is made in this process or resumed."""
    config = config_of(folder, *words)
    return launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), io.StringIO())


def state_of(record: dict[str, Any]) -> dict[str, np.ndarray]:
    """The bits of a finished run: all predictions and the last checkpoint."""
    run_dir = RunDir(Path(record["run_dir"]))
    found = {
        f"{session['index']}/{name}": array
        for session in record["sessions"]
        for name, array in run_dir.predictions(session["index"]).items()
    }
    (last,) = run_dir.checkpoints.glob("session-*.safetensors")
    return found | {"checkpoint": np.frombuffer(last.read_bytes(), np.uint8)}
