"""`hdx sweep` without running anything: plans, refusals, Hydra's `-m`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.cli.conftest import Command, Inside

from hdx.store.files import write_json

GRID = ["+exp=fsa_na", "head=lda,ncm", "seed=range(3)"]


def write_record(home: Path, run_id: str, seconds: float) -> None:
    record = {"run_id": run_id, "seconds": {"sessions": seconds, "gain_predictor": 1.0}, "metrics": {}}
    write_json(home / "runs" / run_id / "record.json", record)


def test_a_dry_run_says_what_is_there(inside: Inside, document: Callable[..., Any], tmp_path: Path) -> None:
    plan = document("sweep", *GRID, "--dry-run")
    assert (plan["runs"], plan["to_do"], plan["cost_s"]) == (6, 6, None)
    assert len({run["body"] for run in plan["order"]}) == 1
    ids = [run["run_id"] for run in plan["order"]]
    assert len(set(ids)) == 6 and plan["order"][0]["overrides"] == ["+exp=fsa_na", "head=lda", "seed=0"]
    home = tmp_path / "outputs"
    write_record(home, ids[0], 9.0)
    write_record(home, ids[3], 2.0)
    write_json(home / "runs" / ids[1] / "status.json", {"state": "failed", "reason": "no"})
    write_json(home / "runs" / ids[2] / "status.json", {"state": "running", "pid": 1})  # nobody has the lease
    plan = document("sweep", *GRID, "--dry-run")
    assert plan["states"] == {"finished": 2, "running": 0, "interrupted": 1, "failed": 1, "new": 2}
    assert [run["run_id"] for run in plan["order"]] == [ids[2], ids[4], ids[5]]
    assert plan["cost_s"] == 10.0 + 3.0 + 3.0
    again = document("sweep", *GRID, "--dry-run", "--retry-failed")
    assert again["to_do"] == 4 and again["cost_s"] == 26.0 and again["sweep"] == plan["sweep"]
    code, out, err = inside("sweep", *GRID, "--dry-run")
    assert (code, err) == (0, "")
    assert out.splitlines()[:2] == [
        f"sweep {plan['sweep']}: 6 runs (2 finished, 1 interrupted, 1 failed, 2 not begun)",
        "to do: 3 runs on 1 body; estimated cost: 16 s of one worker",
    ]
    assert f"1  {ids[2]}  (interrupted) head=lda seed=2" in out
    assert not (home / "sweeps").exists()


def test_planning_and_doing_nothing_need_no_torch(hdx: Command, document: Callable[..., Any], tmp_path: Path) -> None:
    for run in document("sweep", *GRID, "--dry-run")["order"]:
        write_record(tmp_path / "outputs", run["run_id"], 1.0)
    for more in (["--dry-run"], []):
        began = time.monotonic()
        done = hdx("sweep", *GRID, *more, PYTHONPROFILEIMPORTTIME="1")
        assert done.returncode == 0, done.stderr
        assert "hdx.launchers.plan" in done.stderr
        assert not [line for line in done.stderr.splitlines() if line.split("|")[-1].strip() in ("torch", "pytorch_lightning")]
        assert time.monotonic() - began < 20
    assert "6 of 6 runs finished, 0 of them now" in done.stdout


def test_m_is_a_sweep(document: Callable[..., Any]) -> None:
    assert document("train", "-m", *GRID, "--dry-run") == document("sweep", *GRID, "--dry-run")
    assert document("train", "--multirun", *GRID, "--dry-run")["runs"] == 6


def test_everything_wrong_is_said_before_anything_runs(inside: Inside, tmp_path: Path) -> None:
    code, _, err = inside("sweep", "head=lad,ncm", "seed=1,2", "adapter=film,none", "--max-parallel", "2")
    assert code == 2
    assert err.splitlines() == [
        "hdx: head 'lad' is unknown. Did you mean 'lda'?  (hdx list head)",
        "hdx: adapter=film has no effect with method=frozen, which trains no body: take method=first_session, or adapter=none"
        "  (4 of 8 runs: adapter=film; --skip-invalid leaves them out)",
    ]
    assert list(tmp_path.iterdir()) == []


def test_left_out_combinations_are_counted(inside: Inside) -> None:
    code, out, err = inside("sweep", "adapter=film,none", "seed=0,1", "--skip-invalid", "--dry-run")
    assert code == 0 and "2 runs (2 not begun)" in out
    assert "(2 of 4 runs: adapter=film; left out)" in err


def test_options_are_checked(inside: Inside) -> None:
    for words, expected in (
        (["--max-parallel", "0"], "expected an int >= 1, got '0'"),
        (["--time-limit", "soon"], "expected minutes > 0, got 'soon'"),
        (["--fail-fats"], "Did you mean '--fail-fast'?"),
        (["nodes=2"], "a run of a sweep has one machine"),
        (["output_dir=a,b"], "into one output_dir"),
    ):
        code, _, err = inside("sweep", "seed=0,1", *words)
        assert code == 2 and expected in err, (words, err)


def test_configs_of_a_grid(inside: Inside, document: Callable[..., Any]) -> None:
    assert [config["seed"] for config in document("sweep", "seed=0,1", "--cfg", "job")] == [0, 1]
    code, out, _ = inside("sweep", "seed=0,1", "--cfg", "job")
    assert code == 0 and out.count("\n---\n") == 1


def test_named_grids_are_listed(document: Callable[..., Any]) -> None:
    listed = {row["name"]: row for row in document("list", "sweep")}
    assert "demo" in listed and listed["demo"]["summary"] and listed["demo"]["source"]
    assert json.dumps(document("sweep", "+sweep=demo", "--dry-run")["name"]) == '"demo"'
    assert {row["name"] for row in document("list", "launcher")} == {"local", "slurm", "ray"}
