"""`hdx sweep`: a grid of runs."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.config.grid import Grid
    from hdx.launchers._base import Task
    from hdx.launchers.plan import Plan

SUMMARY = "run a grid of experiments; finished runs are not run again, interrupted ones go on"

EPILOG = """\
examples:
  hdx sweep +exp=fsa_na head=lda,ncm seed='range(5)'         ten runs over one extraction of features
  hdx sweep +sweep=shots --dry-run                           what a grid of conf/sweep would do
  hdx sweep +exp=fsa_na,fsa_film 'head=glob(*)' --skip-invalid
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides with alternatives, and how to go about the runs."""
    _common.add_config_arguments(parser)
    _common.add_json_argument(parser)
    parser.add_argument("--dry-run", action="store_true", help="say what would be run, in which order, at what cost")
    parser.add_argument("--skip-invalid", action="store_true", help="leave out combinations that make no sense together")
    parser.add_argument("--fail-fast", action="store_true", help="stop all runs when one fails")
    parser.add_argument("--retry-failed", action="store_true", help="try runs again that failed")
    parser.add_argument("--max-parallel", type=_count, metavar="N", help="at most so many runs at once")
    parser.add_argument(
        "--time-limit", type=_minutes, metavar="MIN", help="minutes after which a run saves and leaves, resumable"
    )


def run(args: argparse.Namespace) -> int:
    """Expand, check, plan, run, sum up."""
    from hdx import content
    from hdx.config.grid import expand
    from hdx.launchers.plan import plan

    with content.asked_once():  # the runs of a sweep read the same data
        grid = expand(args.overrides, args.config_dirs, skip_invalid=args.skip_invalid)
        for line in grid.dropped:
            print(f"hdx: {line}", file=sys.stderr)
        planned = plan(grid)
    _check(planned.to_do(retry_failed=args.retry_failed))
    if args.cfg:
        _print_configs(grid, args.json)
        return 0
    if args.dry_run:
        _show_plan(planned, grid, args)
        return 0
    return _sweep(planned, grid, args)


def _check(tasks: Sequence[Task]) -> None:
    """Raises: ConfigError with all that the runs to do lack on this machine, each line once with how many of them lack it."""
    from hdx.config.ready import check
    from hdx.errors import ConfigError

    lacking: dict[str, int] = {}
    for task in tasks:
        try:
            check(task.config["data"], makes_teachers=True)
        except ConfigError as error:
            for line in error.problems:
                lacking[line] = lacking.get(line, 0) + 1
    if lacking:
        raise ConfigError([f"{line}  ({n} of {len(tasks)} runs)" if n < len(tasks) else line for line, n in lacking.items()])


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected an int >= 1, got '{text}'")
    return int(text)


def _minutes(text: str) -> float:
    try:
        minutes = float(text)
    except ValueError:
        minutes = 0.0
    if not 0 < minutes < float("inf"):
        raise argparse.ArgumentTypeError(f"expected minutes > 0, got '{text}'")
    return minutes


def _print_configs(grid: Grid, as_json: bool) -> None:
    if as_json:
        _common.print_json([run.config.data for run in grid.runs])
    else:
        print("---\n".join(run.config.to_yaml() for run in grid.runs), end="")


def _show_plan(planned: Plan, grid: Grid, args: argparse.Namespace) -> None:
    todo = planned.to_do(retry_failed=args.retry_failed)
    cost = planned.cost_s(todo) if todo else 0.0
    if args.json:
        order = [
            {"run_id": t.run_id, "state": planned.states[t.run_id], "body": t.body, "overrides": list(t.overrides)} for t in todo
        ]
        head = {"sweep": planned.sweep, "name": grid.name, "runs": len(planned.tasks), "states": planned.counts()}
        _common.print_json({**head, "to_do": len(todo), "cost_s": cost, "dropped": grid.dropped, "order": order})
        return
    print("\n".join(_headline(planned, todo, cost)))
    for number, task in enumerate(todo, 1):
        state = planned.states[task.run_id]
        print(f"{number:>5}  {task.run_id}  {'' if state == 'new' else f'({state}) '}{_words(task, planned)}".rstrip())


def _headline(planned: Plan, todo: list[Task], cost: float | None) -> list[str]:
    """How many runs in which state, and the cost of those to do."""
    states = ", ".join(
        f"{count} {'not begun' if state == 'new' else state}" for state, count in planned.counts().items() if count
    )
    bodies = len({task.body for task in todo})
    estimate = "unknown (no run like them is finished)" if cost is None else f"{duration(cost)} of one worker"
    lines = [f"sweep {planned.sweep}: {len(planned.tasks)} runs ({states})"]
    if todo:
        lines.append(f"to do: {len(todo)} runs on {bodies} {'body' if bodies == 1 else 'bodies'}; estimated cost: {estimate}")
    else:
        lines.append("to do: nothing")
    return lines


def duration(seconds: float) -> str:
    """`45 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _words(task: Task, planned: Plan) -> str:
    """The overrides in which the runs of the sweep differ."""
    import shlex

    first = planned.tasks[0].overrides
    same = {word for word in first if all(word in other.overrides for other in planned.tasks)}
    return " ".join(shlex.quote(word) for word in task.overrides if word not in same)


def _sweep(planned: Plan, grid: Grid, args: argparse.Namespace) -> int:
    from hdx import registry
    from hdx.config.grid import launcher_of
    from hdx.engine import stop
    from hdx.errors import Interrupted
    from hdx.launchers._base import Rules
    from hdx.launchers.plan import launch
    from hdx.store.sweeps import write_plan
    from hdx.streams import noting

    tally = Tally(planned, sys.stderr if args.json else sys.stdout)
    todo = planned.to_do(retry_failed=args.retry_failed)
    options = launcher_of(grid)
    limit = None if args.time_limit is None else 60 * args.time_limit
    command = _command(args)
    if todo:
        write_plan(planned.output_dir, planned.rows(), name=grid.name, command=command, launcher=options["name"])
        tally.say("\n".join(_headline(planned, todo, planned.cost_s(todo))))
        rules = Rules(fail_fast=args.fail_fast, max_parallel=args.max_parallel, time_limit_s=limit)
        try:
            with stop.listening(), noting(f"the sweep goes on (to stop it: kill {os.getpid()})"):
                launch(planned, todo, registry.build("launcher", options), rules, tally.told)
        except Interrupted:
            raise Interrupted(f"stopped; {tally.short()}; nothing finished is lost. Go on with:  {command}") from None
    return tally.end(as_json=args.json, command=command)


def _command(args: argparse.Namespace) -> str:
    """The command that goes on with this sweep."""
    import shlex

    words = ["hdx", "sweep", *args.overrides]
    for folder in args.config_dirs:
        words += ["-cd", folder]
    words += ["--skip-invalid"] if args.skip_invalid else []
    words += ["--max-parallel", str(args.max_parallel)] if args.max_parallel else []
    words += ["--time-limit", f"{args.time_limit:g}"] if args.time_limit else []
    return " ".join(shlex.quote(word) for word in words)


class Tally:
    """Hears what becomes of the runs, prints a line for each, and sums up.

    Args:
        planned: the sweep.
        stream: where lines go.
    """

    def __init__(self, planned: Plan, stream: Any) -> None:
        self.planned, self.stream = planned, stream
        self.states = dict(planned.states)
        self.reasons: dict[str, str] = {}
        self.ran = 0
        self.began = time.monotonic()

    def say(self, text: str) -> None:
        """Print at once."""
        print(text, file=self.stream, flush=True)

    def told(self, task: Task, event: dict[str, Any]) -> None:
        """An event of a run (`launchers._base.Told`)."""
        kind = event["event"]
        if kind in ("finished", "failed", "interrupted", "submitted"):
            self.states[task.run_id] = kind
            self.reasons[task.run_id] = event.get("reason") or ""
        if kind == "finished":
            self.ran += bool(event.get("ran"))
        if kind not in ("started", "held") and (text := self._line(task, event)):
            self.say(text)

    def _line(self, task: Task, event: dict[str, Any]) -> str:
        done = sum(state == "finished" for state in self.states.values())
        head = f"[{done}/{len(self.states)}]"
        what = f"{task.run_id}  {_words(task, self.planned)}".rstrip()
        if event["event"] == "finished":
            shares = [(name, event[name]) for name in ("acc", "acc_last") if event.get(name) is not None]
            numbers = "".join(f"  {name} {100 * value:.2f} %" for name, value in shares)
            spent = f"  {event['seconds']:.1f} s" if event.get("seconds") is not None else ""
            return f"{head} finished {what}{numbers}{spent}"
        if event["event"] == "submitted":
            return f"{head} submitted {what}  job {event['job']}"
        word = "begins again" if event["event"] == "lost" else event["event"]
        return f"{head} {word} {what}: {event['reason']}"

    def short(self) -> str:
        """`12 of 40 runs finished`."""
        done = sum(state == "finished" for state in self.states.values())
        return f"{done} of {len(self.states)} runs finished"

    def end(self, *, as_json: bool, command: str) -> int:
        """Sum up. Returns: the exit code, 0 when all runs are finished or submitted."""
        seconds = round(time.monotonic() - self.began, 2)
        if any(self.planned.states[run_id] == "failed" for run_id in self.states):
            self._reasons_of_before()
        wrong = {run_id: state for run_id, state in self.states.items() if state not in ("finished", "submitted")}
        if as_json:
            runs = [
                {"run_id": run_id, "state": state, "reason": self.reasons.get(run_id) or None} for run_id, state in wrong.items()
            ]
            counts = {state: list(self.states.values()).count(state) for state in sorted(set(self.states.values()))}
            head = {"sweep": self.planned.sweep, "runs": len(self.states), "ran": self.ran, "seconds": seconds}
            _common.print_json({**head, "states": counts, "unfinished": runs})
            return 1 if wrong else 0
        self.say(f"sweep {self.planned.sweep}: {self.short()}, {self.ran} of them now, in {duration(seconds)}")
        for run_id, state in wrong.items():
            self.say(f"  {state} {run_id}{': ' if self.reasons.get(run_id) else ''}{self.reasons.get(run_id, '')}")
        if wrong:
            retry = " --retry-failed" if "failed" in wrong.values() else ""
            self.say(f"Go on with:  {command}{retry}")
        return 1 if wrong else 0

    def _reasons_of_before(self) -> None:
        """Why runs failed that were not tried again."""
        from pathlib import Path

        from hdx.store.rundir import RunDir

        for task in self.planned.tasks:
            if self.states[task.run_id] == "failed" and task.run_id not in self.reasons:
                self.reasons[task.run_id] = str(RunDir(Path(task.run_dir)).status().get("reason") or "")
