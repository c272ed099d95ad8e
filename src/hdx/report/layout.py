"""A table as lines of text cells with notes, before a format decides how they look."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hdx.report.cells import Cell
from hdx.report.metrics import METRICS
from hdx.report.table import MIN_FOR_INTERVAL, Entry, Estimate, Table, trusted
from hdx.report.table_spec import CERTAINTIES, Published

NONE = "-"
SHOWN_COMMANDS = 6
FLAG = "†"


@dataclass(frozen=True)
class Line:
    """One line: its cells, or the heading of a section (one cell); `last` of its row."""

    cells: tuple[str, ...]
    heading: bool = False
    last: bool = True


@dataclass(frozen=True)
class Layout:
    """What every format prints.

    Attributes:
        header: label of the row, perhaps what a line is, then one cell a column.
        labels: how many of the leading columns are words (the others are numbers, to the right).
        notes: what the numbers are.
        commands: what fills the missing cells; empty when none is missing.
    """

    name: str
    title: str
    header: tuple[str, ...]
    labels: int
    lines: tuple[Line, ...]
    notes: tuple[str, ...]
    commands: tuple[str, ...]


def lay_out(table: Table) -> Layout:
    """Each row has a line for ours, published, ours minus published and the paired difference, where there is one."""
    spec, sources = table.spec, _Sources(table)
    kinds = {label: _kinds(list(entries.values()), table) for label, entries in table.entries.items()}
    words = any(lines != ["ours"] for lines in kinds.values())
    lines: list[Line] = []
    for row in spec.rows:
        if row.section:
            lines.append(Line((row.section,), heading=True))
        entries = list(table.entries[row.label].values())
        for i, kind in enumerate(kinds[row.label]):
            label = (row.label if i == 0 else "", *([_word(kind, table)] if words else []))
            numbers = (_SHOW[kind](entry, table, sources) for entry in entries)
            lines.append(Line((*label, *numbers), last=i == len(kinds[row.label]) - 1))
    header = ("", *([""] if words else []), *(column.label for column in spec.columns))
    notes = (*spec.caption, *_metric_notes(table), *_interval_notes(table), *sources.notes(), *_missing_notes(table))
    return Layout(spec.name, spec.title, header, 2 if words else 1, tuple(lines), notes, _commands(table))


def _kinds(entries: list[Entry], table: Table) -> list[str]:
    """Which lines a row has."""
    kinds = ["ours"] if entries[0].cell.config is not None else []
    if any(entry.published for entry in entries):
        kinds.append("published")
    if any(entry.difference is not None for entry in entries):
        kinds.append("difference")
    if any(entry.paired for entry in entries):
        kinds.append("paired")
    return kinds or ["none"]


def _word(kind: str, table: Table) -> str:
    return {"difference": "ours − published", "paired": f"minus {table.spec.compare_to}", "none": "published"}.get(kind, kind)


def _ours(entry: Entry, table: Table, sources: _Sources) -> str:
    if entry.ours is None:
        return "n/a" if entry.cell.undefined and not entry.cell.missing else NONE
    return _number(entry, entry.ours, table)


def _number(entry: Entry, estimate: Estimate, table: Table, sign: bool = False) -> str:
    text = entry.metric.text(estimate.mean, sign)
    if estimate.half is not None:
        text += f" ± {entry.metric.text(estimate.half)}"
    return text if estimate.half is not None and estimate.n == _common_n(table) else f"{text} (n={estimate.n})"


def _published(entry: Entry, table: Table, sources: _Sources) -> str:
    number = entry.published
    if number is None:
        return ""
    metric = METRICS[number.metric]
    interval = "" if number.ci is None else f" ± {_as_printed(number.ci)}"
    unit = "" if metric.name == entry.metric.name else f" {metric.name}"
    return f"{_as_printed(number.value)}{interval}{unit} [{sources.number(number)}]{'' if trusted(number) else FLAG}"


def _as_printed(value: float) -> str:
    """A published number keeps the digits it was given with."""
    return f"{value:,.0f}" if value == int(value) and abs(value) >= 1000 else repr(value)


def _difference(entry: Entry, table: Table, sources: _Sources) -> str:
    return "" if entry.difference is None else entry.metric.text(entry.difference, sign=True)


def _paired(entry: Entry, table: Table, sources: _Sources) -> str:
    return "" if entry.paired is None else _number(entry, entry.paired, table, sign=True)


def _nothing(entry: Entry, table: Table, sources: _Sources) -> str:
    return NONE


_SHOW: dict[str, Callable[[Entry, Table, _Sources], str]] = {
    "ours": _ours,
    "published": _published,
    "difference": _difference,
    "paired": _paired,
    "none": _nothing,
}


class _Sources:
    """Numbers the papers, each with table, setting, metric and certainty, in the order in which they are shown."""

    def __init__(self, table: Table) -> None:
        self.known: list[tuple[str, str | None, str, str, str]] = []
        for cell in table.cells:
            if cell.published:
                self.number(cell.published)

    def number(self, published: Published) -> int:
        key = (published.paper, published.table, published.setting, published.metric, published.certainty)
        if key not in self.known:
            self.known.append(key)
        return self.known.index(key) + 1

    def notes(self) -> list[str]:
        lines = []
        for i, (paper, table, setting, metric, certainty) in enumerate(self.known, 1):
            flag = "" if certainty == "source" else f"; {CERTAINTIES[certainty]}"
            where = f", table {table}" if table else ""
            lines.append(f"[{i}] {paper}{where}: {setting}; {metric}{flag}")
        if any(key[-1] not in ("source", "reimplementation") for key in self.known):
            lines.append(f"{FLAG} not to be judged by: see the source's note")
        return lines


def _common_n(table: Table) -> int | None:
    """The n that every interval has which is complete; a cell with another one says so itself."""
    counts = [entry.ours.n for row in table.entries.values() for entry in row.values() if entry.ours and entry.ours.half is not None]
    return max(counts) if counts else None


def _metric_notes(table: Table) -> list[str]:
    notes = []
    for name in dict.fromkeys(column.metric for column in table.spec.columns):
        where = [column.label for column in table.spec.columns if column.metric == name]
        columns = "" if len(where) == len(table.spec.columns) else f" ({', '.join(where)})"
        unit = f" in {METRICS[name].unit}" if METRICS[name].unit else ""
        notes.append(f"{name}{unit}{columns}: {METRICS[name].meaning}.")
    return notes


def _interval_notes(table: Table) -> list[str]:
    spec, n = table.spec, _common_n(table)
    if not any(entry.ours for row in table.entries.values() for entry in row.values()):
        return []
    over = f"seeds {', '.join(map(str, spec.seeds))}" if spec.over == "seeds" else "episodes"
    if n is None:
        notes = [f"Mean over {over}; no interval under {MIN_FOR_INTERVAL}, n in brackets."]
    else:
        notes = [f"Mean ± 95 % confidence interval (Student t) over {over}, n = {n}; other n in brackets, no interval under 3."]
    if any(entry.paired for row in table.entries.values() for entry in row.values()):
        notes.append(f"'minus {spec.compare_to}': mean of the differences between runs that share a seed, with the same kind of interval.")
    return notes


def _missing_notes(table: Table) -> list[str]:
    notes = [f"Not run here: {table.spec.unavailable}."] if table.spec.unavailable else []
    for cell in table.missing:
        notes += [f"{cell.name}: the run with seed {seed} failed: {reason}" for seed, reason in cell.failed.items()]
    return notes


def _commands(table: Table) -> tuple[str, ...]:
    """At most a handful: one a cell, or the one that fills them all."""
    missing = {cell.overrides: cell for cell in table.missing}
    if not missing:
        return ()
    retry = " --retry-failed" if any(cell.failed for cell in missing.values()) else ""
    flag = " --available" if table.spec.unavailable else ""
    runs = sum(len(cell.missing) for cell in missing.values())
    everything = f"hdx table {table.spec.name} --run{retry}{flag}    # all {runs} missing runs"
    if table.spec.unavailable or len(missing) > SHOWN_COMMANDS:
        return (everything,)
    return (*(command_of(cell) for cell in missing.values()), everything)


def command_of(cell: Cell) -> str:
    """The command that fills a cell: a run, or a sweep over the seeds that are missing."""
    return command(cell.overrides, cell.missing)


def command(overrides: Sequence[str], seeds: Sequence[int]) -> str:
    """`hdx train … seed=1` for one seed, `hdx sweep … seed=0,1,2` for several."""
    verb = "train" if len(seeds) == 1 else "sweep"
    words = [*overrides, f"seed={','.join(map(str, seeds))}"]
    return f"hdx {verb} {' '.join(shlex.quote(word) for word in words)}"
