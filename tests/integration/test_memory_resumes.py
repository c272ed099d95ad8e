"""A run with a memory: killed in the middle of a session it ends bit-equal, and its memory is a function of the seed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file
from scripts.bench.kill import differences, only_run, results

from hdx.cli._summary import summary
from hdx.report.metrics import METRICS
from hdx.store.rundir import RunDir
from tests.integration.harness import config_of, interrupted, run_dir_of, small_train, start, train
from tests.integration.test_kill_and_stop import wait_for

SMALL = ("+exp=cil_replay", "backbone=conv4", "backbone.width=16", "protocol.shots=30", "trainer.lr=0.005")
QUICK = (*SMALL, "trainer.epochs=2", "memory.size=40")
LONG = (*SMALL, "trainer.epochs=20", "trainer.batch_size=16", "trainer.checkpoint_seconds=0", "memory.size=40")
STREAM = ("memory.choice=reservoir", "memory.balanced=false", "method.half=true")


def memory_of(run_dir: Path) -> dict[str, np.ndarray]:
    """The memory in the last checkpoint."""
    state = load_file(run_dir / "checkpoint" / "session-04.safetensors")
    return {name: value for name, value in state.items() if "memory." in name}


def rows(record: dict[str, Any]) -> list[int]:
    return memory_of(run_dir_of(record).path)["extra/memory.rows"].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("how", [(), STREAM], ids=["herding", "reservoir"])
def test_kill_9_in_the_middle_of_a_session_changes_nothing(how: tuple[str, ...], tmp_path: Path) -> None:
    words = (*LONG, *how)
    run_dir = RunDir(tmp_path / "b" / "runs" / config_of(tmp_path / "b", *words).run_id)
    process = start(small_train(tmp_path / "b", *words))
    wait_for(lambda: any(run_dir.checkpoints.glob("phase-02-0.pt")), process)
    process.kill()
    process.communicate()
    assert len(run_dir.session_records()) == 2 and any(run_dir.checkpoints.glob("phase-02-0.pt"))
    assert run_dir.session_records()[1]["memory_images"] == 40
    undisturbed = results(Path(train(tmp_path / "a", *words)["run_dir"]))
    train(tmp_path / "b", *words)
    finished = only_run(tmp_path / "b")
    assert finished is not None
    assert differences(undisturbed, results(finished)) == []
    kept = memory_of(finished)
    assert sorted(kept) == [f"extra/memory.{name}" for name in (["keys", "labels", "rows"] if how else ["labels", "rows"])]
    assert all(value.dtype == np.int64 and value.shape == (40,) for value in kept.values())


@pytest.mark.parametrize("how", [("memory.choice=random",), STREAM], ids=["random", "reservoir"])
def test_stopped_between_sessions_it_goes_on_with_what_it_kept(how: tuple[str, ...], tmp_path: Path) -> None:
    undisturbed = train(tmp_path / "a", *QUICK, *how)
    again = train(tmp_path / "c", *QUICK, *how)
    stopped = interrupted(tmp_path / "b", *QUICK, *how, after=3)
    train(tmp_path / "b", *QUICK, *how)
    expected = results(run_dir_of(undisturbed).path)
    assert differences(expected, results(stopped.path)) == []
    assert differences(expected, results(run_dir_of(again).path)) == []
    fixed = ("protocol.order_seed=0", "protocol.shot_seed=0")  # the same images arrive, and other ones are kept
    one, other = (train(tmp_path / "d", *QUICK, *how, *fixed, f"seed={seed}") for seed in (0, 1))
    assert set(rows(one)) != set(rows(other)) and len(rows(one)) == len(rows(other)) == 40


def test_a_memory_without_room_is_no_memory(tmp_path: Path) -> None:
    empty = train(tmp_path, *QUICK[:-1], "memory.size=0")
    assert empty["memory_images"] == empty["memory_bytes"] == 0
    naive = train(tmp_path, "+exp=cil_finetune", *QUICK[1:-1])
    assert [session["acc"] for session in empty["sessions"]] == [session["acc"] for session in naive["sessions"]]


def test_what_is_kept_is_in_the_record(tmp_path: Path) -> None:
    found = train(tmp_path, *QUICK[:-1], "memory.size=null", "memory.per_class=7")
    assert [session["memory_images"] for session in found["sessions"]] == [14, 28, 42, 56, 70]
    assert [session["memory_bytes"] for session in found["sessions"]] == [64 * n for n in (14, 28, 42, 56, 70)]
    assert (found["memory_images"], found["memory_bytes"]) == (70, 70 * 64)
    assert found["head_state_bytes"] == 4 * (16 + 1) * 10  # a row and an offset of a linear head on 16 features
    assert len(rows(found)) == 70
    assert "memory 70 images, 4.5 kB; head state 0.7 kB" in summary(found)
    assert [METRICS[name].of(found) for name in ("memory_images", "memory_bytes", "head_state_bytes")] == [70, 4480, 680]
