"""How far a sweep is: its plan against the index."""

from __future__ import annotations

import os
import socket
import statistics
import time
from pathlib import Path
from typing import Any

from hdx.errors import RunError
from hdx.registry import did_you_mean
from hdx.store.index import Index
from hdx.store.sweeps import read_plan

FEW = 3  # fewer finished runs than this tell less about a run than the run itself


def find_plan(output_dir: Path, name: str | None = None) -> tuple[str, dict[str, Any]] | None:
    """Name and plan of a sweep (its hash or its preset's name), or of the newest one; None where there is none.

    Raises: RunError for an unknown name and for a damaged plan.
    """
    files = sorted((output_dir / "sweeps").glob("*/plan.json"), key=lambda path: path.stat().st_mtime, reverse=True)
    if name is None:
        return (files[0].parent.name, _read(files[0])) if files else None
    for file in files:
        if file.parent.name == name or _read(file).get("name") == name:
            return file.parent.name, _read(file)
    names = [file.parent.name for file in files]
    where, there = output_dir / "sweeps", ", ".join(names[:5]) or "none"
    raise RunError(f"sweep '{name}' is not under {where}.{did_you_mean(name, names)}  (there: {there})")


def _read(path: Path) -> dict[str, Any]:
    plan = read_plan(path)
    runs = plan.get("runs") if isinstance(plan, dict) else None
    if not isinstance(runs, list) or not all(isinstance(run, dict) and isinstance(run.get("run_id"), str) for run in runs):
        raise RunError(f"{path}: expected the plan of a sweep, got something else; run the sweep again")
    return plan


def standing(plan: dict[str, Any], index: Index) -> dict[str, Any]:
    """How far a sweep is.

    Returns: `counts` by state (pending: not begun), `running` with `fraction`, `elapsed` and `left` (seconds or None),
    `failed` (run_id, reason), `median_seconds` of a finished run, `left` (estimated seconds to the end), `alive` (whether the
    sweep's process is there; None when that is on another machine), `command` (which goes on with it).
    """
    known = {row["run_id"]: row for row in index.runs()}
    wanted = list(dict.fromkeys(run["run_id"] for run in plan["runs"]))
    rows = [known[run_id] for run_id in wanted if run_id in known]
    counts = {state: sum(row["state"] == state for row in rows) for state in ("finished", "running", "interrupted", "failed")}
    counts["pending"] = len(wanted) - sum(counts.values())
    seconds = [row["seconds"] for row in rows if row["state"] == "finished" and row["seconds"] is not None]
    median = statistics.median(seconds) if seconds else None
    sessions = {row["group"]: row["n_sessions"] for row in rows if row["n_sessions"]}
    running = [under_way(row, median if len(seconds) >= FEW else None, sessions) for row in rows if row["state"] == "running"]
    return {
        "total": len(wanted),
        "counts": counts,
        "running": running,
        "failed": [{"run_id": row["run_id"], "reason": row["reason"]} for row in rows if row["state"] == "failed"],
        "median_seconds": median,
        "left": _left(counts, running, median),
        "alive": _alive(plan),
        "command": plan.get("command"),
    }


def under_way(row: dict[str, Any], median: float | None = None, sessions: dict[str, int] | None = None) -> dict[str, Any]:
    """Progress of a running run, from what it says of itself and its finished sessions, and the time it has left."""
    said, done = row["progress"], row["sessions_done"]
    total = said.get("sessions") or (sessions or {}).get(row["group"])
    fraction = None
    if total:
        inside = _inside(said) if said.get("session") == done + 1 else 0.0
        fraction = min(1.0, (done + max(0.0, inside)) / total)
    elapsed = None if row["started"] is None else max(0.0, time.time() - row["started"])
    guesses = []  # by the median of others, and by what the run says of itself: a run is rarely faster than the slower of them
    if elapsed is not None and median is not None:
        guesses.append(median - elapsed)
    if elapsed is not None and fraction:
        guesses.append(elapsed * (1 - fraction) / fraction)
    left = max(0.0, *guesses) if guesses else None
    return {
        "run_id": row["run_id"],
        "session": min(done + 1, total or done + 1),
        "sessions": total,
        **{key: said.get(key) for key in ("epoch", "epochs")},
        "fraction": fraction,
        "elapsed": elapsed,
        "left": left,
        "host": row["host"],
        "pid": row["pid"],
    }


def _inside(said: dict[str, Any]) -> float:
    """How much of its session a run has done, by its epochs, or by the steps of a work that has none."""
    if said.get("epochs"):
        return float((said["epoch"] - 1) / said["epochs"])
    return float(said["step"] / said["steps"]) if said.get("steps") else 0.0


def _left(counts: dict[str, int], running: list[dict[str, Any]], median: float | None) -> float | None:
    """Seconds to the end with as many runs at a time as now: None while no run is finished, 0 when nothing is left."""
    to_do = counts["pending"] + counts["interrupted"]
    if not to_do and not running:
        return 0.0
    if median is None:
        return None
    begun = [median if run["left"] is None else run["left"] for run in running]
    return max((to_do * median + sum(begun)) / max(1, len(running)), *begun, 0.0)


def _alive(plan: dict[str, Any]) -> bool | None:
    pid = plan.get("pid")
    if plan.get("host") != socket.gethostname() or not isinstance(pid, int) or pid <= 0:
        return None
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True
