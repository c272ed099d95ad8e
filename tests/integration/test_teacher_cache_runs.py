"""Distillation with and without the teacher cache, whole runs: bit-equal, interrupted or not, and the teacher asked once."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripts.bench.kill import differences, results

from hdx.cli._summary import summary
from hdx.engine import stop
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import ConfigError, Interrupted
from tests.integration.harness import config_of, place, run_dir_of, train

TINY = ("backbone=conv4", "backbone.width=8", "protocol.shots=12")
TEACHER = (
    "+exp=kd_teacher",
    "backbone=conv4",
    "backbone.width=16",
    "protocol.shots=12",
    "trainer.epochs=1",
    "trainer.feature_epochs=5",
)
STORED = ("trainer.augment=[crop,rotate]", "trainer.crops=2")


def words(*more: str) -> tuple[str, ...]:
    named = ",".join(f'"{word}"' for word in (*TEACHER, "accelerator=cpu", "threads=1"))
    given = {word.partition("=")[0] for word in more}
    own = [word for word in ("trainer.epochs=4", "trainer.batch_size=20") if word.partition("=")[0] not in given]
    return ("+exp=kd_kd", *TINY, "teacher=run", f"teacher.overrides=[{named}]", *own, *more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the teacher in it, and what it said."""
    path = tmp_path_factory.mktemp("outputs")
    train(path, *TEACHER)
    return path


def found(folder: Path, *more: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    record = train(folder, *words(*more), force=True)
    return record, results(run_dir_of(record).path)


@pytest.mark.parametrize("how", [STORED, (*STORED, "teacher.store=top_k", "teacher.k=3"), ()], ids=["crops", "top_k", "plain"])
def test_cached_and_live_end_bit_equal_and_a_second_run_asks_nothing(how: tuple[str, ...], folder: Path) -> None:
    live, expected = found(folder, *how, "teacher.cache=false")
    kept, first = found(folder, *how, "teacher.cache=true")
    again, second = found(folder, *how)
    assert differences(expected, first) == [] and differences(expected, second) == []
    assert live["run_id"] == kept["run_id"] == again["run_id"]
    crops = 2 if how else 1
    assert [each["teacher_images"] for each in (live, kept, again)] == [4 * 120, crops * 120, 0]
    assert f"teacher asked about {crops * 120} images" in summary(kept)


def test_interrupted_runs_go_on_with_what_is_kept_and_end_bit_equal(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    more = (*STORED, "trainer.crop_seed=5")
    _, expected = found(folder, *more, "teacher.cache=false")
    config, steps = config_of(folder, *words(*more)), []
    run_dir = place(config)
    monkeypatch.setattr(stop, "requested", lambda: (steps.append(1), len(steps) > 9)[1])
    with pytest.raises(Interrupted):
        launch(config, run_dir, Report(), io.StringIO(), force=True)
    monkeypatch.undo()
    assert list(run_dir.checkpoints.glob("phase-*.pt"))
    record = train(folder, *words(*more))
    assert differences(expected, results(run_dir_of(record).path)) == []
    assert 0 < record["teacher_images"] < 2 * 120  # the rest was kept by the part before


def test_another_seed_asks_about_no_crop_again(folder: Path) -> None:
    """Order and batches are others, the crops are not."""
    more = (*STORED, "trainer.crop_seed=7", "trainer.epochs=2", "protocol.shot_seed=0")
    counts = [
        train(folder, *words(*more, f"seed={seed}", f"trainer.batch_size={size}"))["teacher_images"]
        for seed, size in ((0, 20), (1, 33))
    ]
    assert counts == [240, 0]


def test_sessions_share_what_the_teacher_said_of_all_classes(folder: Path) -> None:
    """The memory's rows come back in later sessions, and the teacher was asked about them before."""
    sessions = ("protocol=class_incremental", "protocol.step=5", "protocol.shots=12", "memory=replay", "memory.size=20")
    more = (*sessions, *STORED, "trainer.crop_seed=9", "trainer.epochs=2")
    _, expected = found(folder, *more, "teacher.cache=false")
    kept, first = found(folder, *more)
    assert differences(expected, first) == []
    assert [session["teacher_images"] for session in kept["sessions"]] == [2 * 60, 2 * 60]


def test_fresh_crops_and_a_demand_to_keep_them_are_refused_before_any_work() -> None:
    with pytest.raises(ConfigError, match=r"teacher\.cache=true keeps .* give trainer\.crops=K"):
        config_of(Path("nowhere"), *words("trainer.augment=[crop]", "teacher.cache=true"))
