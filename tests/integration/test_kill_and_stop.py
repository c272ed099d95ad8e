"""Killed, interrupted or asked for twice: a run always ends as if nobody had disturbed it (CPU, bit by bit)."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from scripts.bench.kill import differences, kill_after, only_run, results

from hdx.store.rundir import RunDir
from tests.integration.harness import command, config_of, environment, errors_of, small_train, start, train

ONCE = ("trainer.checkpoint_seconds=0", "protocol.shots=40")
FILM = ("+exp=fsa_film", "trainer.epochs=20", *ONCE)
FINETUNE = ("+exp=finetune", "head=cosine", "adapter=film", "trainer.epochs=3", *ONCE)  # new rows in every session
SLOW = ("+exp=fsa_film", "trainer.epochs=400", "protocol.shots=40", "trainer.checkpoint_seconds=60")


def wait_for(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def resumed(folder: Path, words: tuple[str, ...]) -> Path:
    """Run what is under `folder` to its end by the command line."""
    run_dir = only_run(folder)
    again = small_train(folder, *words) if run_dir is None else command("resume", str(run_dir))
    subprocess.run(again, check=True, env=environment(), capture_output=True)
    finished = only_run(folder)
    assert finished is not None
    return finished


@pytest.mark.slow
@pytest.mark.parametrize("words", [FILM, FINETUNE], ids=["fsa_film", "finetune"])
def test_kill_9_changes_nothing(words: tuple[str, ...], tmp_path: Path) -> None:
    undisturbed = results(Path(train(tmp_path / "a", *words)["run_dir"]))
    draw = random.Random(words[0])
    run_dir = RunDir(tmp_path / "b" / "runs" / config_of(tmp_path / "b", *words).run_id)
    killed = 0
    while killed < 2 and run_dir.record() is None:  # both kills in one run, the second one in what was resumed
        process = start(small_train(tmp_path / "b", *words))
        wait_for(lambda: run_dir.status()["state"] == "running", process)
        killed += kill_after_seconds(process, draw.uniform(0.3, 2.5))
    finished = resumed(tmp_path / "b", words)
    assert killed == 2
    assert differences(undisturbed, results(finished)) == []
    assert len(undisturbed) >= 5 * (7 + 5) + 10


def kill_after_seconds(process: subprocess.Popen[str], seconds: float) -> int:
    """1 where the process was still running."""
    try:
        process.communicate(timeout=seconds)
        return 0
    except subprocess.TimeoutExpired:
        process.kill()
        process.communicate()
        return 1


def test_kill_after_says_whether_there_was_something_to_kill() -> None:
    assert kill_after(["sleep", "5"], 0.05) is True
    assert kill_after(["true"], 5.0) is False


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_polite_stop_says_how_to_go_on_and_loses_nothing(signum: signal.Signals, tmp_path: Path) -> None:
    words = ("+exp=fsa_film", "trainer.epochs=60", "protocol.shots=40", "trainer.checkpoint_seconds=3600")
    run_dir = RunDir(tmp_path / "b" / "runs" / config_of(tmp_path / "b", *words).run_id)
    process = start(small_train(tmp_path / "b", *words))
    wait_for(lambda: "step" in run_dir.status(), process)  # inside the gradient phase, however busy the machine is
    process.send_signal(signum)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors_of(err) == [f"hdx: stopped; nothing finished is lost. Go on with:  hdx resume {run_dir.path}"]
    assert run_dir.status()["state"] == "interrupted" and not (run_dir.path / "lease.json").exists()
    assert list(run_dir.checkpoints.glob("phase-*.pt")), "stopped inside the gradient phase, where it must save"
    undisturbed = results(Path(train(tmp_path / "a", *words)["run_dir"]))
    assert differences(undisturbed, results(resumed(tmp_path / "b", words))) == []


@pytest.mark.slow
def test_a_second_process_is_refused_and_damages_nothing(tmp_path: Path) -> None:
    run_dir = RunDir(tmp_path / "runs" / config_of(tmp_path, *SLOW).run_id)
    first = start(small_train(tmp_path, *SLOW))
    wait_for(lambda: run_dir.status()["state"] == "running", first)
    try:
        holder = json.loads((run_dir.path / "lease.json").read_text())
        assert holder["pid"] == first.pid
        alive = ("lease.json", "status.json")  # its holder writes these while it lives
        files = [path for path in run_dir.path.rglob("*") if path.is_file() and path.name not in alive]
        before = {path: path.read_bytes() for path in files}
        for words in (
            small_train(tmp_path, *SLOW),
            [*small_train(tmp_path, *SLOW), "--force"],
            [*small_train(tmp_path, *SLOW), "--retry-failed"],
            command("resume", str(run_dir.path), "workers=0"),
        ):
            second = subprocess.run(words, env=environment(), capture_output=True, text=True, check=False)
            assert second.returncode == 2
            assert errors_of(second.stderr) == [
                f"hdx: run {run_dir.path}: process {first.pid} on {os.uname().nodename} has it; wait for it or stop it"
            ]
        after = {path: path.read_bytes() for path in before}
        assert after == before and run_dir.config_file in before
        status = run_dir.status()
        assert (status["state"], status["pid"]) == ("running", first.pid)
        assert first.poll() is None
    finally:
        first.kill()
        first.communicate()
