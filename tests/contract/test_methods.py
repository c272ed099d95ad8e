"""Every method, by a preset that has it: stopped twice in the middle, it ends bit-equal to a run that was never disturbed."""

from __future__ import annotations

import io
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdx import registry
from hdx.config import files, paths
from hdx.config.config import Config
from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.engine import stop
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import Interrupted
from hdx.store.rundir import RunDir

MACHINE = ("accelerator", "threads", "seed", "output_dir")
PLACE = ("dataset=digits", "backbone=conv4", "backbone.width=8", "accelerator=cpu", "threads=1", "seed=0")
TEACHER = ("+exp=kd_teacher", "backbone=conv4", "trainer.epochs=1", "protocol.shots=6")
#: What makes a run short: the most of an option, wherever a component has it.
FEW: dict[str, int] = {
    "epochs": 2,
    "feature_epochs": 2,
    "batch_size": 16,
    "checkpoint_seconds": 0,
    "shots": 6,
    "queries": 2,
    "episodes": 4,
    "episodes_per_epoch": 4,
    "ways": 4,
    "steps": 4,
    "size": 12,
    "projections": 64,
    "fisher_samples": 16,
}


def presets() -> dict[str, str]:
    """For each method the first preset whose file chooses it; runs of other images than digits come last."""
    found: dict[str, str] = {}
    folder = [paths.packaged()]
    names = sorted(files.names("exp", folder), key=lambda name: (name.startswith("setting_"), name))
    for name in names:
        text = (paths.packaged() / "exp" / f"{name}.yaml").read_text(encoding="utf-8")
        chosen = re.search(r"override /method: (\w+)", text)
        found.setdefault(chosen[1] if chosen else "frozen", name)
    return found


PRESETS = presets()


def small(folder: Path, preset: str) -> Config:
    """The preset on a few digits and a narrow body."""
    config, plain = load([f"+exp={preset}"]), load([*PLACE, f"output_dir={folder}"])
    data: dict[str, Any] = {**config.data, **{key: plain[key] for key in (*MACHINE, "dataset", "backbone")}}
    for group in ("trainer", "method", "protocol", "memory", "head"):
        node = data[group]
        data[group] = {key: min(value, FEW[key]) if key in FEW and value is not None else value for key, value in node.items()}
    if data["protocol"].get("shots", 0) is None:
        data["protocol"]["shots"] = FEW["shots"]
    if data["protocol"].get("within_groups"):  # digits have none
        data["protocol"]["within_groups"] = False
    if data["teacher"].get("overrides"):
        data["teacher"] = {**data["teacher"], "overrides": list(TEACHER)}
    return absolute_in(Config(data, config.exp, config.choices, teacher_of=config.teacher_of))


def run(config: Config) -> RunDir:
    """The run, from where it stands."""
    run_dir = RunDir.of(config["output_dir"], config.run_id)
    launch(config, run_dir, Report(), io.StringIO())
    return run_dir


@contextmanager
def asked(monkeypatch: pytest.MonkeyPatch, at: int | None = None) -> Iterator[list[int]]:
    """Counts how often the engine asks whether to stop; from the `at`-th time on the answer is yes."""
    counted = [0]

    def requested() -> bool:
        counted[0] += 1
        return at is not None and counted[0] >= at

    with monkeypatch.context() as patch:
        patch.setattr(stop, "requested", requested)
        yield counted


def bits(run_dir: RunDir) -> dict[str, bytes]:
    """All predictions, and the last state."""
    found = {}
    for session in run_dir.session_records():
        for name, array in run_dir.predictions(session["index"]).items():
            found[f"{session['index']}/{name}"] = np.ascontiguousarray(array).tobytes()
    (last,) = run_dir.checkpoints.glob("session-*.safetensors")
    return found | {"state": last.read_bytes()}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the teacher that students name is finished."""
    folder = tmp_path_factory.mktemp("taught")
    config = load([*TEACHER, "accelerator=cpu", "threads=1", f"output_dir={folder}"])
    run(absolute_in(config))
    return folder


@pytest.mark.parametrize("method", registry.names("method"))
def test_stopped_in_the_middle_it_ends_the_same(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    assert method in PRESETS, f"give method={method} a preset in conf/exp"
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    if load([f"+exp={PRESETS[method]}"])["teacher.name"] == "run":
        taught = request.getfixturevalue("taught")
        for folder in (whole, cut):
            shutil.copytree(taught, folder)
    with asked(monkeypatch) as counted:
        undisturbed = run(small(whole, PRESETS[method]))
    config, n = small(cut, PRESETS[method]), counted[0]
    for at in sorted({max(1, n // 3), max(1, n // 4)}, reverse=True):
        with asked(monkeypatch, at), pytest.raises(Interrupted):
            run(config)
    with asked(monkeypatch):
        resumed = run(config)
    assert bits(resumed).keys() == bits(undisturbed).keys()
    assert {name for name, value in bits(undisturbed).items() if bits(resumed)[name] != value} == set()
