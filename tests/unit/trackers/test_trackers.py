"""Trackers: what is on disk after a run, after a resume and after a kill."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import Any

import pytest

from hdx.errors import ConfigError
from hdx.trackers.csv import CsvTracker
from hdx.trackers.tensorboard import TensorBoardTracker
from hdx.trackers.wandb import WandbTracker, quieter


def table(folder) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_csv_columns_grow_and_rows_fill_up(tmp_path):
    tracker = CsvTracker(tmp_path, {}, "r")
    tracker.log({"session": 0, "loss": 0.1}, 0)
    tracker.log({"session": 0, "loss": 1 / 3}, 1)
    tracker.log({"session": 0, "acc": 0.75}, 1)
    tracker.log({"session": 1, "loss": 2.0}, 0)
    tracker.close({})
    assert table(tmp_path) == [
        {"session": "0", "step": "0", "loss": "0.1", "acc": ""},
        {"session": "0", "step": "1", "loss": repr(1 / 3), "acc": "0.75"},
        {"session": "1", "step": "0", "loss": "2.0", "acc": ""},
    ]


def test_csv_after_a_resume_equals_an_undisturbed_run(tmp_path):
    def rows(first: int, last: int, extra: float):
        return [({"loss": step + extra}, step) for step in range(first, last)]

    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    whole = CsvTracker(tmp_path / "a", {}, "r")
    for metrics, step in rows(0, 6, 0.5):
        whole.log(metrics, step)
    interrupted = CsvTracker(tmp_path / "b", {}, "r")
    for metrics, step in rows(0, 2, 0.5) + rows(2, 5, 0.25):  # steps 2 to 4 came after the last checkpoint
        interrupted.log(metrics, step)
    with (tmp_path / "b" / "metrics.csv").open("a") as file:
        file.write(",5,0.")  # killed while writing
    resumed = CsvTracker(tmp_path / "b", {}, "r")
    for metrics, step in rows(2, 6, 0.5):
        resumed.log(metrics, step)
    assert (tmp_path / "a" / "metrics.csv").read_bytes() == (tmp_path / "b" / "metrics.csv").read_bytes()


def test_csv_torn_line_is_dropped_before_a_new_row_is_appended(tmp_path):
    CsvTracker(tmp_path, {}, "r").log({"loss": 1.5}, 0)
    with (tmp_path / "metrics.csv").open("a") as file:
        file.write(",1,0.")
    CsvTracker(tmp_path, {}, "r").log({"loss": 2.5}, 1)
    assert [(row["step"], row["loss"]) for row in table(tmp_path)] == [("0", "1.5"), ("1", "2.5")]


def test_tensorboard_values_and_purge_after_resume(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    tracker = TensorBoardTracker(tmp_path, {}, "r")
    for step in range(4):
        tracker.log({"acc": 0.1 * step}, step)
    resumed = TensorBoardTracker(tmp_path, {}, "r")
    for step in range(2, 5):
        resumed.log({"acc": 0.5 * step}, step)
    resumed.close({"acc_last": 0.25})
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, round(e.value, 4)) for e in events.Scalars("acc")] == [(0, 0.0), (1, 0.1), (2, 1.0), (3, 1.5), (4, 2.0)]
    assert [e.value for e in events.Scalars("summary/acc_last")] == [0.25]


def test_wandb_offline_writes_under_the_run_directory_only(tmp_path, capfd):
    for _ in range(2):  # the second is a resume
        tracker = WandbTracker(tmp_path, {"head": {"name": "lda"}}, "fsa_film/0a1b-s0")
        assert tracker.run.id == "fsa_film-0a1b-s0"
        assert tracker.run.offline
        tracker.log({"acc": 0.5}, 0)
        tracker.close({"acc_last": 0.5})
    files = list((tmp_path / "wandb").glob("offline-run-*/run-fsa_film-0a1b-s0.wandb"))
    assert len(files) >= 1
    assert all(file.stat().st_size > 0 for file in files)
    captured = capfd.readouterr()
    assert captured.out == ""
    assert captured.err == ""


def test_wandb_missing_is_one_line(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ConfigError, match=r"tracker=wandb \(mode offline\) cannot start.*tracker=csv"):
        WandbTracker(tmp_path, {}, "r")


@pytest.mark.parametrize(
    ("option", "said", "mode"),
    [
        (None, "", "offline"),
        (None, "disabled", "disabled"),
        (None, "online", "online"),
        (None, "dryrun", "offline"),
        (None, "run", "online"),
        ("offline", "disabled", "disabled"),
        ("online", "disabled", "disabled"),
        ("online", "offline", "offline"),
        ("online", "dryrun", "offline"),
        ("offline", "online", "offline"),
        ("disabled", "online", "disabled"),
        ("online", " Online ", "online"),
    ],
)
def test_what_sends_less_holds(option: Any, said: str, mode: str) -> None:
    assert quieter(option, said) == mode


def test_a_mode_of_wandb_that_is_none() -> None:
    with pytest.raises(ConfigError, match="WANDB_MODE=ofline: expected one of disabled, offline, online, dryrun, run"):
        quieter(None, "ofline")


def test_disabled_by_the_environment_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "disabled")
    tracker = WandbTracker(tmp_path, {}, "exp/00000000-s0")
    tracker.log({"acc": 0.5}, step=0)
    tracker.close({"acc_last": 0.5})
    assert list(tmp_path.iterdir()) == []
