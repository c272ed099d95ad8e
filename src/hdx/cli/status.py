"""`hdx status`: how far a sweep is, or which runs are under way."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from hdx.cli import _common, _runs

SUMMARY = "how far a sweep is: done, running with time left, failed and why, pending, cost (--watch: live)"
STATES = ("finished", "running", "interrupted", "failed", "pending")
EVERY_S = 2.0
SHOWN = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which sweep, and whether to stay."""
    parser.add_argument("sweep", nargs="*", metavar="SWEEP", help="hash or preset of a sweep (default: the newest); output_dir=…")
    parser.add_argument("--watch", action="store_true", help="show it again every two seconds until nothing runs any more")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Look, print, and again with --watch."""
    from hdx.errors import ConfigError

    output_dir, names = _runs.split_output_dir(args.sweep)
    if len(names) > 1:
        raise ConfigError(f"'{names[1]}' is one argument too many: one sweep at a time  (hdx status --help)")
    if args.watch and args.json:
        raise ConfigError("--watch and --json do not go together: --json prints one document")
    name = names[0] if names else None
    if args.watch:
        return _watch(output_dir, name)
    found = look(output_dir, name)
    if args.json:
        _common.print_json(found)
    else:
        print("\n".join(lines(found)))
    return 0


def _watch(output_dir: Path, name: str | None) -> int:
    import sys
    import time

    from hdx.streams import lost

    try:
        while True:
            found = look(output_dir, name)
            if sys.stdout.isatty():
                print("\x1b[H\x1b[J", end="")
            print("\n".join(lines(found)), flush=True)
            counts = found["counts"]
            if lost(sys.stdout) or not counts.get("running") and (not found["alive"] or not counts.get("pending")):
                return 0
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        return 0


def look(output_dir: Path, name: str | None) -> dict[str, Any]:
    """The standing of a sweep; where there is none, the runs that are under way."""
    from hdx.store.standing import find_plan, standing, under_way

    plan = find_plan(output_dir, name)
    index = _runs.refreshed(output_dir)
    if plan is not None:
        return {"sweep": plan[0], **standing(plan[1], index)}
    rows = index.runs()
    return {
        "sweep": None,
        "total": len(rows),
        "counts": {state: sum(row["state"] == state for row in rows) for state in (*STATES[:-1], "new")},
        "running": [under_way(row) for row in rows if row["state"] == "running"],
        "failed": [{"run_id": row["run_id"], "reason": row["reason"]} for row in rows if row["state"] == "failed"],
        "median_seconds": None,
        "left": None,
        "alive": None,
        "command": None,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """A standing as text."""
    counts = found["counts"]
    title = f"sweep {found['sweep']}: " if found["sweep"] else "no sweep; all runs: "
    done = "   ".join(f"{state} {number:,}" for state, number in counts.items() if number or state == "finished")
    text = [_runs.clean(f"{title}{found['total']:,} runs   {done}"), *_cost(found)]
    if found["running"]:
        head = ["running", "session", "epoch", "done", "for", "left", "process"]
        text += ["", *_runs.table(head, [_running(run) for run in found["running"][:SHOWN]], right=(1, 2, 3, 4, 5), cut=(0,))]
    if found["failed"]:
        failed = [[run["run_id"], run["reason"] or ""] for run in found["failed"][:SHOWN]]
        text += ["", *_runs.table(["failed", "reason"], failed, cut=(1,))]
    hidden = sum(max(0, len(found[key]) - SHOWN) for key in ("running", "failed"))
    return [*text, f"… {hidden:,} more  (--json shows all)"] if hidden else text


def _cost(found: dict[str, Any]) -> list[str]:
    text = []
    if found["median_seconds"] is not None:
        text.append(f"median run {_runs.duration(found['median_seconds'])}")
    if found["left"]:
        text.append(f"about {_runs.duration(found['left'])} left with {max(1, len(found['running']))} at a time")
    to_do = found["counts"].get("pending", 0) + found["counts"].get("interrupted", 0)
    if found["sweep"] and found["alive"] is False and to_do:
        again = f": {_runs.clean(found['command'])}" if isinstance(found["command"], str) else ": the same hdx sweep command"
        return [*(["   ".join(text)] if text else []), f"its process is gone; go on with{again}"]
    return ["   ".join(text)] if text else []


def _running(run: dict[str, Any]) -> list[str]:
    session = f"{run['session']}/{run['sessions'] or '?'}"
    epoch = f"{run['epoch']}/{run['epochs']}" if run["epoch"] and run["epochs"] else "-"
    done = "-" if run["fraction"] is None else f"{100 * run['fraction']:.0f} %"
    times = [_runs.duration(run["elapsed"]), _runs.duration(run["left"])]
    return [run["run_id"], session, epoch, done, *times, f"{run['pid']} on {run['host']}"]
