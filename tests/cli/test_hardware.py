"""What a run may ask of a machine: refused in a line, before anything is started or written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdx import hardware
from hdx.config import ready
from hdx.config.grid import expand
from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.launchers._base import Rules
from hdx.launchers.local import Local
from hdx.launchers.plan import plan

Inside = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def machine(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Two cores, no GPU, no nodes."""
    for name in (hardware.AGAIN, "RANK", "MASTER_ADDR", "NODE_RANK", "SLURM_NODEID"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(hardware, "cores", lambda: 2)
    monkeypatch.setattr(hardware, "_other_gpus", lambda: False)
    return monkeypatch


def data(*words: str) -> dict[str, Any]:
    return load(words).data


@pytest.mark.parametrize(
    "words", [(), ("devices=2",), ("devices=2", "threads=4"), ("threads=8", "accelerator=cpu"), ("devices=1",)]
)
def test_what_fits(words: tuple[str, ...]) -> None:
    assert hardware.problems(data(*words)) == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (("devices=99",), "devices: expected at most 2 processes (2 cores here), got 99; HDX_OVERSUBSCRIBE=1 starts"),
        (("devices=3", "accelerator=cpu"), "devices: expected at most 2 processes (2 cores here), got 3"),
        (("devices=2", "threads=99"), "threads: expected at most 4 a process (2 cores here), got 99"),
        (("threads=100000",), "threads: expected at most 8 a process (2 cores here), got 100000"),
        (("accelerator=gpu",), "accelerator=gpu: this machine has no GPU that hdx may use; take accelerator=cpu"),
        (("accelerator=gpu", "devices=99"), "accelerator=gpu: this machine has no GPU"),
        (("nodes=2",), "nodes=2: expected MASTER_ADDR and NODE_RANK (or SLURM_NODEID) in the environment of each node"),
        (("nodes=2", "devices=99"), "nodes=2: expected MASTER_ADDR"),
    ],
)  # fmt: skip
def test_what_does_not(words: tuple[str, ...], line: str, machine: pytest.MonkeyPatch) -> None:
    (found,) = hardware.problems(data(*words))
    assert found.startswith(line)
    assert found in ready.problems(data(*words))
    machine.setenv("RANK", "0")
    assert hardware.problems(data(*words)) == []  # a rank was started by someone who asked


def test_each_node_has_its_own_cores(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("MASTER_ADDR", "10.0.0.1")
    machine.setenv("NODE_RANK", "1")
    assert hardware.problems(data("nodes=8", "devices=2")) == []
    (line,) = hardware.problems(data("nodes=8", "devices=3"))
    assert line.startswith("devices: expected at most 2 processes")


def test_asked_twice(machine: pytest.MonkeyPatch) -> None:
    machine.setenv(hardware.AGAIN, "1")
    assert hardware.problems(data("devices=99", "threads=99")) == []
    assert hardware.problems(data("accelerator=gpu")) != []


def test_gpus(machine: pytest.MonkeyPatch) -> None:
    machine.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    assert hardware.problems(data("devices=3")) == [] == hardware.problems(data("accelerator=gpu"))
    (line,) = hardware.problems(data("devices=4"))
    assert line == "devices: expected at most 3 GPUs (what this machine has), got 4; or accelerator=cpu"


@pytest.mark.parametrize(("quota", "n"), [("50000 100000", 1), ("150000 100000", 2), ("max 100000", 3), ("900000 100000", 3)])
def test_cores_of_a_container(quota: str, n: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    (tmp_path / "cpu.max").write_text(quota)
    monkeypatch.setattr(hardware, "_QUOTA", tmp_path / "cpu.max")
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert hardware.cores() == n


def test_nothing_is_written(inside: Inside, tmp_path: Path) -> None:
    for arguments in (["train", "devices=99"], ["sweep", "devices=99", "seed=1,2"], ["sweep", "devices=99", "--dry-run"]):
        code, out, err = inside(*arguments)
        assert (code, out) == (2, "") and err.startswith("hdx: devices: expected at most 2 processes") and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_workers_of_a_sweep(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tasks = plan(expand(["seed=range(4)", f"output_dir={tmp_path}", "accelerator=cpu"])).tasks
    monkeypatch.setattr("hdx.launchers.local.cores", lambda: 2)
    with pytest.raises(ConfigError, match=r"launcher.workers: expected at most 2 \(cores here\), got 3"):
        Local(workers=3).launch(tasks, Rules(), lambda task, event: None)
