"""Ray: a real instance on this machine."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from hdx.config.grid import expand
from hdx.errors import RunError
from hdx.launchers._base import Rules, Task
from hdx.launchers.plan import plan
from hdx.launchers.ray import Ray
from hdx.store.rundir import RunDir

ray = pytest.importorskip("ray", reason="launcher=ray needs the extra: pip install 'hdx[ray]'")
BODY = ["dataset=digits", "backbone.pretrained=false", "protocol=offline", "protocol.shots=2", "protocol.train_seed=0"]


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Task]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    return plan(expand([*BODY, "head=lda,ncm", "protocol.shots=2,5000"])).to_do()


def test_a_local_instance_does_the_runs(tasks: list[Task]) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    Ray(workers=1).launch(tasks, Rules(), lambda task, event: told.append((task.run_id, event)))
    ends = {run_id: event["event"] for run_id, event in told if event["event"] != "started"}
    assert sorted(ends.values()) == ["failed", "failed", "finished", "finished"]
    assert all(RunDir(Path(task.run_dir)).status()["state"] == ends[task.run_id] for task in tasks)
    assert not ray.is_initialized()


def test_no_cluster_at_the_address(tasks: list[Task]) -> None:
    with pytest.raises(RunError, match=r"no Ray cluster at 127\.0\.0\.1:1 .*ray start --head"):
        Ray(address="127.0.0.1:1").launch(tasks, Rules(), lambda task, event: None)
    assert os.environ.get("RAY_ADDRESS") is None
