"""The plan of a sweep: which runs, in which order, what is done already, and what the rest will cost."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hdx.config import inputs
from hdx.config.before import as_before
from hdx.config.config import Config
from hdx.config.grid import Grid, Planned
from hdx.config.identity import body_key, body_shared
from hdx.config.paths import absolute_in
from hdx.config.schema import run_options
from hdx.errors import ConfigError
from hdx.launchers._base import Launcher, Rules, Task, Told
from hdx.store.rundir import RunDir
from hdx.store.sweeps import state_of, sweep_hash


@dataclass(frozen=True)
class Plan:
    """All runs of a sweep in the order in which they are done.

    Attributes:
        tasks: of every run, finished ones too; teachers that the grid does not have come first.
        states: run id to one of `store.sweeps.STATES`.
        teachers: run id to the run id of its teacher, where that is a run named by its config.
        added: run ids of the teachers that the grid does not have; they are done where a run to do needs them.
    """

    tasks: list[Task]
    states: dict[str, str]
    teachers: dict[str, str] = field(default_factory=dict)
    added: frozenset[str] = frozenset()

    @property
    def sweep(self) -> str:
        """Eight hex digits that name the sweep."""
        return sweep_hash([task.run_id for task in self.tasks])

    @property
    def output_dir(self) -> Path:
        """Of all runs."""
        return Path(self.tasks[0].config["data"]["output_dir"])

    def counts(self) -> dict[str, int]:
        """How many runs are in each state."""
        found = Counter(self.states.values())
        return {state: found[state] for state in ("finished", "running", "interrupted", "failed", "new")}

    def to_do(self, *, retry_failed: bool = False) -> list[Task]:
        """What a sweep would run now; runs that another process has are among them, and waited for."""
        skipped = {"finished"} if retry_failed else {"finished", "failed"}
        chosen = [task for task in self.tasks if self.states[task.run_id] not in skipped]
        needed = {self.teachers.get(task.run_id) for task in chosen}
        chosen = [task for task in chosen if task.run_id in needed or task.run_id not in self.added]
        return [replace(task, retry_failed=retry_failed) for task in chosen]

    def stages(self, tasks: Sequence[Task]) -> list[list[Task]]:
        """`tasks` in stages, each of which learns from the runs of those before it alone."""
        found: dict[int, list[Task]] = {}
        for task in tasks:
            found.setdefault(self._depth(task.run_id), []).append(task)
        return [found[depth] for depth in sorted(found)]

    def _depth(self, run_id: str) -> int:
        return 1 + self._depth(self.teachers[run_id]) if run_id in self.teachers else 0

    def cost_s(self, tasks: Sequence[Task]) -> float | None:
        """Seconds of one worker for `tasks`, from this grid's finished runs: the median over those of the same method, body and
        head, else of the same method and body; None where a run has nothing to be compared with."""
        seconds: dict[tuple[str, ...], list[float]] = {}
        for task in self.tasks:
            if self.states[task.run_id] == "finished" and (spent := _seconds(task)) is not None:
                for key in _kinds(task):
                    seconds.setdefault(key, []).append(spent)
        total = 0.0
        for task in tasks:
            known = next((seconds[key] for key in _kinds(task) if key in seconds), None)
            if known is None:
                return None
            total += statistics.median(known)
        return total

    def rows(self) -> list[dict[str, Any]]:
        """The runs as `plan.json` lists them."""
        home = self.output_dir
        return [
            {
                "run_id": task.run_id,
                "run_dir": Path(task.run_dir).relative_to(home).as_posix(),
                "overrides": list(task.overrides),
                "body": task.body,
            }
            for task in self.tasks
        ]


def plan(grid: Grid) -> Plan:
    """Put the runs of a grid, and the teachers that they name, in order and look at what is there.

    Raises: ConfigError for what a sweep cannot do.
    """
    runs, teachers, own = _with_teachers(grid.runs)
    tasks = ordered([_task(config, overrides) for config, overrides in runs])
    if any(task.config["data"]["nodes"] > 1 for task in tasks):
        raise ConfigError("nodes: a run of a sweep has one machine; start runs on several nodes with hdx train")
    states = {task.run_id: state_of(RunDir(Path(task.run_dir))) for task in tasks}
    return Plan(tasks, states, teachers, frozenset(states) - own)


def _with_teachers(runs: Sequence[Planned]) -> tuple[list[tuple[Config, tuple[str, ...]]], dict[str, str], set[str]]:
    """The runs, with absolute paths and under the names that they have on disk, after the teachers that they name, and theirs.

    Returns: config and overrides of each, for each student the id of its teacher, and the ids of `runs`.
    """
    found: dict[str, tuple[Config, tuple[str, ...]]] = {}
    teachers: dict[str, str] = {}

    def add(run: Planned) -> str:
        named = as_before(absolute_in(run.config))
        own = named.run_id
        if own not in found:
            if (config := run.config.teacher) is not None:
                places = [f"{key}={config[key]}" for key in ("output_dir", "data_dir") if config[key] != run_default(key)]
                teachers[own] = add(Planned(config, (*run.config["teacher.overrides"], *places)))
            found[own] = named, run.overrides
        return own

    ids = {add(run) for run in runs}
    return list(found.values()), teachers, ids


def run_default(key: str) -> Any:
    """The default of a run option."""
    option = run_options().option(key)
    return None if option is None else option.default


def launch(planned: Plan, tasks: Sequence[Task], launcher: Launcher, rules: Rules, told: Told) -> None:
    """Do the tasks, teachers before their students; a student whose teacher did not finish is told of as interrupted.

    Raises: as `Launcher.launch`.
    """
    for stage in planned.stages(tasks):
        ready = []
        for task in stage:
            teacher = planned.teachers.get(task.run_id)
            if teacher is None or RunDir(planned.output_dir / "runs" / teacher).record() is not None:
                ready.append(task)
            else:
                told(task, {"event": "interrupted", "reason": f"its teacher {teacher} is not finished"})
        if ready:
            launcher.launch(ready, rules, told)


def ordered(tasks: Sequence[Task]) -> list[Task]:
    """Runs of one body together, bodies and runs in the order in which they come."""
    bodies: dict[str, list[Task]] = {}
    for task in tasks:
        bodies.setdefault(task.body, []).append(task)
    return [task for group in bodies.values() for task in group]


def _task(config: Config, overrides: tuple[str, ...]) -> Task:
    return Task(
        run_id=config.run_id,
        run_dir=str(Path(config["output_dir"]) / "runs" / config.run_id),
        config={
            "data": config.data,
            "exp": config.exp,
            "choices": config.choices,
            "exchanged": config.exchanged,
            "group": config.group_hash,
            "contents": inputs.found(config.data),
        },
        overrides=overrides,
        body=body_key(config.data, config.taught),
        shares=body_shared(config.data),
        ranks=config["devices"],
    )


def _kinds(task: Task) -> list[tuple[str, ...]]:
    """What runs that cost about the same have in common, the nearest first."""
    data = task.config["data"]
    parts = ("dataset", "backbone", "adapter", "method")
    kind = tuple(repr(sorted(data[part].items(), key=lambda item: item[0])) for part in parts)
    shots = str(data["protocol"].get("shots"))
    return [(*kind, repr(data["head"]), shots), (*kind, data["head"]["name"]), kind]


def _seconds(task: Task) -> float | None:
    record = RunDir(Path(task.run_dir)).record() or {}
    spent = record.get("seconds", {}).get("sessions")
    return None if spent is None else float(spent) + float(record["seconds"].get("gain_predictor") or 0.0)
