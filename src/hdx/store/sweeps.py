"""Which runs a sweep consists of: `<output_dir>/sweeps/<hash>/plan.json`. What became of them stands in their own directories."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdx import digest
from hdx.store.files import read_json, write_json
from hdx.store.lease import living_holder
from hdx.store.rundir import RunDir

STATES = ("finished", "running", "interrupted", "failed", "new")


def sweep_hash(run_ids: Sequence[str]) -> str:
    """Eight hex digits of the runs, whatever their order: the same grid is the same sweep."""
    return digest.of_json(sorted(run_ids))[:8]


def plan_file(output_dir: Path, sweep: str) -> Path:
    """Where the plan of a sweep is."""
    return output_dir / "sweeps" / sweep / "plan.json"


def write_plan(output_dir: Path, runs: Sequence[dict[str, Any]], **about: Any) -> Path:
    """Write the plan of a sweep.

    Args:
        runs: `{run_id, run_dir, overrides, body}` of each; `run_dir` relative to `output_dir`.
        about: `{name, command, launcher, workers}`, as far as known.
    """
    sweep = sweep_hash([run["run_id"] for run in runs])
    path = plan_file(output_dir, sweep)
    head = {"sweep": sweep, "created": time.time(), "pid": os.getpid(), "host": socket.gethostname()}
    write_json(path, {**head, **about, "runs": list(runs)})
    return path


def read_plan(path: Path) -> dict[str, Any]:
    """A plan. Raises: RunError when it is missing or damaged."""
    return read_json(path)


def state_of(run_dir: RunDir) -> str:
    """One of `STATES`; a run that says it is running and that no living process has is interrupted."""
    if (run_dir.path / "record.json").exists():
        return "finished"
    if not run_dir.path.exists():
        return "new"
    if living_holder(run_dir.path) is not None:
        return "running"
    state = run_dir.status()["state"]
    if state == "running" or (state == "new" and (run_dir.path / "sessions").exists()):
        return "interrupted"
    return state
