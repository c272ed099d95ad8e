"""A table as lines of text cells with notes, before a format decides how they look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hdx.report.notes import FLAG, UNKNOWN, Sources, commands, common_n, interval_notes, metric_notes, missing_notes
from hdx.report.table import Entry, Estimate, Table, trusted

NONE = "-"


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
    spec, sources = table.spec, Sources(table)
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
    notes = (*spec.caption, *metric_notes(table), *interval_notes(table), *sources.notes(), *missing_notes(table))
    return Layout(spec.name, spec.title, header, 2 if words else 1, tuple(lines), notes, commands(table))


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


def _ours(entry: Entry, table: Table, sources: Sources) -> str:
    if entry.ours is None:
        return "n/a" if entry.cell.undefined and not entry.cell.missing else NONE
    return _number(entry, entry.ours, table)


def _number(entry: Entry, estimate: Estimate, table: Table, sign: bool = False) -> str:
    text = entry.metric.text(estimate.mean, sign)
    if estimate.half is not None:
        text += f" ± {entry.metric.text(estimate.half)}"
    return text if estimate.half is not None and estimate.n == common_n(table) else f"{text} (n={estimate.n})"


def _published(entry: Entry, table: Table, sources: Sources) -> str:
    number = entry.published
    if number is None:
        return ""
    if number.value is None:
        return f"{UNKNOWN} [{sources.number(number)}]"
    interval = "" if number.ci is None else f" ± {sources.text(number, number.ci)}"
    other = "" if number.metric == entry.metric.name else f" {number.metric}"
    value = sources.text(number, number.value)
    return f"{value}{interval}{other} [{sources.number(number)}]{'' if trusted(number) else FLAG}"


def _difference(entry: Entry, table: Table, sources: Sources) -> str:
    return "" if entry.difference is None else entry.metric.text(entry.difference, sign=True)


def _paired(entry: Entry, table: Table, sources: Sources) -> str:
    return "" if entry.paired is None else _number(entry, entry.paired, table, sign=True)


def _nothing(entry: Entry, table: Table, sources: Sources) -> str:
    return NONE


_SHOW: dict[str, Callable[[Entry, Table, Sources], str]] = {
    "ours": _ours,
    "published": _published,
    "difference": _difference,
    "paired": _paired,
    "none": _nothing,
}
