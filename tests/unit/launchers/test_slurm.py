"""Slurm: the sbatch text, how runs are dealt to jobs, and real jobs through submitit's local executor."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hdx.config.grid import expand
from hdx.errors import ConfigError
from hdx.launchers._base import Rules, Task
from hdx.launchers.plan import plan
from hdx.launchers.slurm import Job, Slurm
from hdx.store.rundir import RunDir

submitit = pytest.importorskip("submitit", reason="launcher=slurm needs the extra: pip install 'hdx[slurm]'")
BODY = ["dataset=digits", "backbone.pretrained=false", "protocol=offline", "protocol.shots=2", "protocol.train_seed=0"]


def tasks_of(*words: str) -> list[Task]:
    return plan(expand([*BODY, *words])).to_do()


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Slurm that takes jobs and never runs them: `sbatch` keeps its file and answers as the real one does."""
    tools, kept = tmp_path / "bin", tmp_path / "sbatch.sh"
    tools.mkdir()
    for name, body in (("srun", "exit 0"), ("sbatch", f'cp "$1" {kept}; echo "Submitted batch job 4711"')):
        (tools / name).write_text(f"#!/bin/sh\n{body}\n")
        (tools / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return kept


def test_runs_are_dealt_by_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = tasks_of("head=lda,ncm", "seed=0,1,2", "pool=avg,gem")
    dealt = Slurm(runs_per_job=4).chunks(tasks)
    assert [len(chunk) for chunk in dealt] == [4, 2, 4, 2]
    assert all(len({task.body for task in chunk}) == 1 for chunk in dealt)
    assert [task for chunk in dealt for task in chunk] == tasks


def test_the_text_for_sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cluster: Path) -> None:
    monkeypatch.chdir(tmp_path)
    launcher = Slurm(
        partition="gpu",
        account="lab",
        gpus=2,
        cpus=8,
        mem_gb=20.5,
        time_min=90,
        array_parallelism=3,
        runs_per_job=2,
        setup=["module load x"],
    )
    told: list[tuple[str, dict[str, Any]]] = []
    launcher.launch(tasks_of("head=lda,ncm", "seed=0,1,2"), Rules(), lambda task, event: told.append((task.run_id, event)))
    lines = cluster.read_text().splitlines()
    wanted = ["partition=gpu", "account=lab", "gres=gpu:2", "cpus-per-task=8", "mem=20992M", "time=90", "array=0-2%3", "nodes=1"]
    for each in [*wanted, "signal=USR2@90", "ntasks-per-node=1", "job-name=hdx"]:
        assert f"#SBATCH --{each}" in lines
    assert "module load x" in lines and any("submitit.core._submit" in line for line in lines)
    assert not any("--qos" in line for line in lines)
    assert [event["job"] for _, event in told] == ["4711_0", "4711_0", "4711_1", "4711_1", "4711_2", "4711_2"]
    launcher = Slurm(gpus=0, mem_gb=None)
    launcher.launch(tasks_of("head=lda,ncm"), Rules(max_parallel=1), lambda task, event: None)
    text = cluster.read_text()
    assert "--gres" not in text and "--mem" not in text and "--partition" not in text


def test_real_jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    tasks = tasks_of("head=lda,ncm", "seed=0", "protocol.shots=2,5000")
    told: list[tuple[str, dict[str, Any]]] = []
    Slurm(executor="local", wait=True).launch(tasks, Rules(), lambda task, event: told.append((task.run_id, event)))
    ends = {run_id: event["event"] for run_id, event in told if event["event"] != "submitted"}
    assert sorted(ends.values()) == ["failed", "failed", "finished", "finished"] and set(ends) == {task.run_id for task in tasks}
    for task in tasks:
        run = RunDir(Path(task.run_dir))
        assert run.status()["state"] == (
            "finished" if ends[task.run_id] == "finished" else "new"
        )  # what cannot begin leaves nothing
        assert (run.record() is not None) == (ends[task.run_id] == "finished")
    assert sum(event["event"] == "submitted" for _, event in told) == 4


def test_a_preempted_job_is_the_same_job_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = tasks_of("head=ncm", "seed=0,1")
    job = Job([task.plain() for task in tasks], fail_fast=True, time_limit_s=60)
    first = Job(job.tasks[:1])()
    assert [event["event"] for event in first] == ["finished"] and first[0]["ran"]
    again = job.checkpoint().function
    assert vars(again) == vars(job)
    events = again()
    assert [(event["run_id"], event["ran"]) for event in events] == [(tasks[0].run_id, False), (tasks[1].run_id, True)]


def test_without_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    tasks = tasks_of("head=ncm")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="this machine has no srun"):
        Slurm().launch(tasks, Rules(), lambda task, event: None)
