"""Run directories: atomic files, commits, leases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from hdx.errors import RunError
from hdx.store.files import read_json, write_atomic, write_json
from hdx.store.lease import Lease
from hdx.store.rundir import RunDir, find_run


def test_a_write_that_fails_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": 1})

    def breaks(file) -> None:  # type: ignore[no-untyped-def]
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(tmp_path / "a.json", breaks)
    assert read_json(tmp_path / "a.json") == {"x": 1}
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_nan_becomes_null(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": float("nan"), "y": [np.float64(0.5), float("inf")]})
    assert json.loads((tmp_path / "a.json").read_text()) == {"x": None, "y": [0.5, None]}


def test_sessions_count_up_to_the_first_gap(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for index in (0, 1, 3):
        run.write_session({"index": index})
    assert [record["index"] for record in run.session_records()] == [0, 1]


def test_predictions_round_trip_and_damage_is_named(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    run.write_predictions(0, {"label": np.arange(5)})
    np.testing.assert_array_equal(run.predictions(0)["label"], np.arange(5))
    (tmp_path / "predictions" / "00.npz").write_bytes(b"nonsense")
    with pytest.raises(RunError, match=r"00\.npz: expected the predictions of session 0"):
        run.predictions(0)


def test_a_lease_of_a_living_process_is_respected(tmp_path: Path) -> None:
    with Lease(tmp_path), pytest.raises(RunError, match=f"process {os.getpid()} on .* has it"), Lease(tmp_path):
        raise AssertionError("two processes hold the lease")
    assert not (tmp_path / "lease.json").exists()


def test_a_lease_of_a_dead_process_is_taken_over(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from hdx.store.lease import Lease\n"
        "Lease(Path(sys.argv[1])).__enter__(); os._exit(9)"
    )
    subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False)
    assert (tmp_path / "lease.json").exists()
    with Lease(tmp_path) as lease:
        assert read_json(tmp_path / "lease.json")["token"] == lease.mine["token"]


def test_a_lease_of_another_host_holds_until_its_heartbeat_is_old(tmp_path: Path) -> None:
    holder = {"host": "elsewhere", "pid": 1, "token": "x", "heartbeat": time.time()}
    write_json(tmp_path / "lease.json", holder)
    with pytest.raises(RunError, match="on elsewhere has it"), Lease(tmp_path):
        pass
    write_json(tmp_path / "lease.json", {**holder, "heartbeat": time.time() - 120})
    with Lease(tmp_path):
        assert read_json(tmp_path / "lease.json")["pid"] == os.getpid()


def test_only_one_of_many_takes_over(tmp_path: Path) -> None:
    write_json(tmp_path / "lease.json", {"host": "elsewhere", "pid": 1, "token": "x", "heartbeat": 0.0})
    code = (
        "import sys, time; from pathlib import Path; from hdx.store.lease import Lease\n"
        "with Lease(Path(sys.argv[1])): print('mine', flush=True); time.sleep(1.5)"
    )
    runs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=-1, stderr=-1, text=True) for _ in range(4)]
    assert sum("mine" in run.communicate()[0] for run in runs) == 1


def test_runs_are_found_by_path_id_and_part(tmp_path: Path) -> None:
    for name in ("fsa/aa-s0", "fsa/ab-s0"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.yaml").write_text("")
    assert find_run("fsa/aa-s0", tmp_path).path.name == "aa-s0"
    assert find_run(str(tmp_path / "runs/fsa/ab-s0"), tmp_path).path.name == "ab-s0"
    assert find_run("ab-s0", tmp_path).path.name == "ab-s0"
    with pytest.raises(RunError, match="2 runs match"):
        find_run("fsa", tmp_path)
    with pytest.raises(RunError, match="no run matches"):
        find_run("nothing", tmp_path)
