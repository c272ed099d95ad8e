"""Small runs on scikit-learn's digits: inside this process, which is quicker, or as a command of their own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from hdx.config.config import Config
from hdx.config.paths import absolute_in
from hdx.config.validate import load
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import Interrupted
from hdx.protocols._base import Session
from hdx.store.rundir import RunDir

#: an untrained body, so that no test depends on the shipped weights; one thread, so that bits can be compared
SMALL = ("backbone.pretrained=false", "accelerator=cpu", "threads=1", "trainer.epochs=2", "trainer.feature_epochs=5")


def config_of(output_dir: Path, *overrides: str) -> Config:
    """The checked config of a small run."""
    return absolute_in(load(config_words(output_dir, *overrides)))


def train(output_dir: Path, *overrides: str, force: bool = False) -> dict[str, Any]:
    """The record of a small run, which is run in this process unless it is finished."""
    config = config_of(output_dir, *overrides)
    return launch(config, place(config), Report(), io.StringIO(), force=force)


def place(config: Config) -> RunDir:
    """The directory of a config's run."""
    return RunDir.of(config["output_dir"], config.run_id)


class StopAfter(Report):
    """Interrupts a run once so many sessions are committed."""

    def __init__(self, n_sessions: int) -> None:
        self.left = n_sessions

    def session(self, record: dict[str, Any], sessions: list[Session]) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted("the test wants it")


def interrupted(output_dir: Path, *overrides: str, after: int) -> RunDir:
    """A run that was stopped after `after` sessions."""
    config = config_of(output_dir, *overrides)
    run_dir = place(config)
    try:
        launch(config, run_dir, StopAfter(after), io.StringIO())
    except Interrupted:
        return run_dir
    raise AssertionError(f"the run has no {after + 1} sessions")


def run_dir_of(record: dict[str, Any]) -> RunDir:
    """The run directory of a record."""
    return RunDir(Path(record["run_dir"]))


def arrays_of(record: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    """Predictions of every session."""
    return [run_dir_of(record).predictions(session["index"]) for session in record["sessions"]]


def command(*words: str) -> list[str]:
    """`hdx …` by this interpreter."""
    return [sys.executable, "-m", "hdx.cli.main", *words]


def small_train(output_dir: Path, *overrides: str) -> list[str]:
    """`hdx train` of a small run."""
    return command("train", *config_words(output_dir, *overrides))


def config_words(output_dir: Path, *overrides: str) -> list[str]:
    """The overrides of a small run."""
    given = {override.partition("=")[0] for override in overrides}
    given |= {"backbone.pretrained"} & {f"{word}.pretrained" for word in given}  # another body may not have the option
    small = [override for override in SMALL if override.partition("=")[0] not in given]
    return [*overrides, *small, f"output_dir={output_dir}"]


def start(arguments: list[str], **more: Any) -> subprocess.Popen[str]:
    """A process whose output is caught."""
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment(), **more)


def environment() -> dict[str, str]:
    """One thread, no debugging."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "HDX_DEBUG": "0", "HDX_OVERSUBSCRIBE": "1"}


def errors_of(text: str) -> list[str]:
    """The lines on stderr that tell of an error; none of them may be a traceback."""
    assert "Traceback" not in text, text
    return [line for line in text.splitlines() if line.startswith("hdx: ")]
