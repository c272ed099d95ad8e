"""Sweeps with real workers: the results of single runs, failures, stops, kills, and two sweeps at once."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hdx.cli.main import main
from hdx.store.rundir import RunDir

BODY = ["dataset=digits", "backbone.pretrained=false", "protocol=offline", "protocol.shots=5", "protocol.train_seed=0"]
#: Runs of a second or two: the body trains on 10 x 20 images.
LONG = [
    "+exp=fsa_film",
    "backbone=conv4",
    "protocol.shots=20",
    "protocol.step=5",
    "trainer.epochs=20",
    "trainer.checkpoint_seconds=0",
]

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """`start(*arguments)`: `hdx sweep` in a process of its own, in an empty folder."""
    begun = []

    def begin(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "hdx.cli.main", "sweep", *arguments]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        begun.append(subprocess.Popen(command, cwd=tmp_path, env=environment, text=True, start_new_session=True, **pipes))
        return begun[-1]

    yield begin
    for process in begun:
        if process.poll() is None:
            process.kill()
        process.communicate()


def over(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def records(home: Path) -> dict[str, dict[str, Any]]:
    return {f"{file.parts[-3]}/{file.parts[-2]}": json.loads(file.read_text()) for file in home.glob("runs/*/*/record.json")}


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    """Children of a sweep, by the process table."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == process.pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.02)


def test_the_results_of_single_runs_once_and_nothing_the_second_time(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = [*BODY, "head=lda,linear", "trainer.feature_epochs=3", "seed=0,1"]
    code, out, err = over(start(*grid, "--json"))
    found = json.loads(out)
    assert (code, found["runs"], found["ran"], found["states"], found["unfinished"]) == (0, 4, 4, {"finished": 4}, [])
    swept = records(tmp_path / "outputs")
    assert len(swept) == 4 and err.count(" finished ") == 4
    plan = json.loads(next((tmp_path / "outputs/sweeps").glob("*/plan.json")).read_text())
    assert sorted(run["run_id"] for run in plan["runs"]) == sorted(swept)
    assert len({run["body"] for run in plan["runs"]}) == 1  # drawn from train_seed=0
    assert sum(record["images_forwarded"] for record in swept.values()) == 0  # the extraction came before, for all of them
    began = time.monotonic()
    code, out, _ = over(start(*grid, "--json"))
    assert code == 0 and json.loads(out)["ran"] == 0 and json.loads(out)["states"] == {"finished": 4}
    assert time.monotonic() - began < 10  # no worker was started; the figure itself is the benchmark's
    assert records(tmp_path / "outputs") == swept
    monkeypatch.chdir(tmp_path)
    for head, seed in (("lda", 1), ("linear", 0)):
        capsys.readouterr()
        words = [*BODY, f"head={head}", "trainer.feature_epochs=3", f"seed={seed}", "output_dir=alone", "--json"]
        assert main(["train", *words]) == 0
        alone = json.loads(capsys.readouterr().out)
        assert alone["metrics"] == swept[alone["run_id"]]["metrics"]


def test_a_failed_run_stops_no_other_and_is_retried_on_request(start: Start, tmp_path: Path) -> None:
    grid = ["+exp=fsa_na", *BODY, "protocol.shots=5,5000", "head=ncm,lda"]
    code, out, _ = over(start(*grid, "--json"))
    found = json.loads(out)
    assert code == 1 and found["states"] == {"failed": 2, "finished": 2}
    assert all("protocol.shots: expected at most" in run["reason"] for run in found["unfinished"])
    assert len(list((tmp_path / "outputs" / "runs" / "fsa_na").iterdir())) == 2  # what cannot begin leaves nothing behind
    code, out, _ = over(start(*grid))  # and is tried again, told of when it fails and in the end
    assert code == 1 and "0 of them now" in out and out.count("protocol.shots: expected at most") == 4
    (tmp_path / "before").write_text(json.dumps(sorted(records(tmp_path / "outputs"))))
    code, out, _ = over(start(*grid, "--retry-failed", "--fail-fast", "--max-parallel", "1"))
    assert code == 1 and out.count("] failed ") == 1  # the first failure was the last run


def test_two_sweeps_of_one_grid_share_the_work(start: Start, tmp_path: Path) -> None:
    grid = ["+exp=fsa_na", *BODY, "head=ncm,lda", "seed=range(8)", "launcher.workers=1", "--json"]
    both = [start(*grid), start(*grid)]
    results = [over(process) for process in both]
    documents = [json.loads(out) for _, out, _ in results]
    assert [code for code, _, _ in results] == [0, 0], results
    assert [document["states"] for document in documents] == [{"finished": 16}] * 2
    assert sum(document["ran"] for document in documents) == 16
    assert len(records(tmp_path / "outputs")) == 16


def test_ctrl_c_leaves_everything_resumable(start: Start, tmp_path: Path) -> None:
    grid = [*LONG, "seed=range(4)", "launcher.workers=2"]
    process = start(*grid)
    wait_until(lambda: any(tmp_path.glob("outputs/runs/*/*/checkpoint/phase-*.pt")), process)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the sweep and not to the sessions of its workers
    code, _, err = over(process)
    assert code == 130
    assert "Go on with:  hdx sweep +exp=fsa_film" in err and "'seed=range(4)'" in err
    runs = [RunDir(file.parent) for file in tmp_path.glob("outputs/runs/*/*/config.yaml")]
    assert {run.status()["state"] for run in runs} <= {"interrupted", "finished"}
    assert any(run.status()["state"] == "interrupted" for run in runs)
    assert not list(tmp_path.glob("outputs/runs/*/*/lease.json"))
    code, out, _ = over(start(*grid))
    assert code == 0 and len(records(tmp_path / "outputs")) == 4


def test_a_time_limit_interrupts_a_run_and_the_others_go_on(start: Start, tmp_path: Path) -> None:
    grid = ["+exp=fsa_film", "backbone=conv4", "trainer.epochs=1,5000", "protocol.step=5", "--time-limit", "0.25", "--json"]
    code, out, _ = over(start(*grid))
    found = json.loads(out)
    assert code == 1 and found["states"] == {"finished": 1, "interrupted": 1}
    assert found["unfinished"][0]["reason"] == "its time limit is over"
    run = RunDir(tmp_path / "outputs" / "runs" / found["unfinished"][0]["run_id"])
    assert run.status()["state"] == "interrupted" and list(run.checkpoints.glob("phase-*.pt"))


def test_progress_stands_in_the_status(start: Start, tmp_path: Path) -> None:
    process = start("+exp=fsa_film", "backbone=conv4", "trainer.epochs=5000", "protocol.step=5", "seed=0")

    def status() -> dict[str, Any]:
        file = next(iter(tmp_path.glob("outputs/runs/*/*/status.json")), None)
        return json.loads(file.read_text()) if file else {}

    wait_until(lambda: "epoch" in status(), process)
    found = status()
    assert (found["state"], found["session"], found["sessions"], found["epochs"]) == ("running", 1, 2, 5000)
    assert abs(found["heartbeat"] - time.time()) < 60 and found["pid"] in workers_of(process)
    process.terminate()
    assert over(process)[0] == 130


def test_kills_of_the_sweep_and_of_its_workers(start: Start, tmp_path: Path) -> None:
    grid = [*LONG, "head=lda,ncm", "seed=range(2)", "launcher.workers=2", "--json"]
    chance = random.Random(0)
    for kill in range(4):
        process = start(*grid)
        wait_until(lambda each=process: len(workers_of(each)) > 0, process)  # type: ignore[misc]
        time.sleep(chance.uniform(0.5, 9))
        if process.poll() is not None:
            break
        victims = workers_of(process) if kill % 2 else [process.pid]
        if victims:
            os.kill(chance.choice(victims), signal.SIGKILL)
        if kill % 2:
            time.sleep(1)
            process.kill()
        process.wait()
    code, out, err = over(start(*grid))
    assert code == 0, (out, err)
    assert json.loads(out)["states"] == {"finished": 4}
    found = records(tmp_path / "outputs")
    assert len(found) == 4 and all(len(record["sessions"]) == 2 for record in found.values())
    for run_id in found:
        rows = (tmp_path / "outputs/runs" / run_id / "metrics.csv").read_text().splitlines()
        assert len(rows) == 3  # a header and two sessions: nothing is doubled
    assert not list(tmp_path.glob("outputs/runs/*/*/lease.json"))


def test_a_worker_that_dies_is_replaced(start: Start, tmp_path: Path) -> None:
    process = start(*LONG, "seed=range(2)", "launcher.workers=1")
    wait_until(lambda: any(tmp_path.glob("outputs/runs/*/*/checkpoint/phase-*.pt")), process)
    os.kill(workers_of(process)[0], signal.SIGKILL)
    code, out, err = over(process)
    assert code == 0, (out, err)
    assert "begins again" in out and "its worker was killed by SIGKILL (out of memory?)" in out
    assert len(records(tmp_path / "outputs")) == 2
