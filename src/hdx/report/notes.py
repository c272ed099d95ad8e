"""What stands under a table: what its numbers are, where the published ones come from, what fills the missing ones."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from hdx.report.cells import Cell
from hdx.report.metrics import METRICS
from hdx.report.table import MIN_FOR_INTERVAL, Table
from hdx.report.table_spec import CERTAINTIES, TRUSTED, Published

SHOWN_COMMANDS = 6
FLAG = "†"
UNKNOWN = "?"


class Sources:
    """Numbers the papers, each with table, setting and certainty, in the order in which they are shown.

    Attributes:
        digits: how many digits after the point a paper gives; YAML keeps none of the zeros at the end.
    """

    def __init__(self, table: Table) -> None:
        self.known: list[tuple[str, str | None, str, str]] = []
        self.digits: dict[str, int] = {}
        for cell in table.cells:
            if cell.published:
                self.number(cell.published)
                paper = cell.published.paper
                self.digits[paper] = max(self.digits.get(paper, 0), *map(_digits, (cell.published.value, cell.published.ci)))

    def number(self, published: Published) -> int:
        """The number in brackets of where a value comes from."""
        key = (published.paper, published.table, published.setting, published.certainty)
        if key not in self.known:
            self.known.append(key)
        return self.known.index(key) + 1

    def text(self, published: Published, value: float) -> str:
        """A number as its paper prints it."""
        return f"{value:,.{self.digits[published.paper]}f}"

    def notes(self) -> list[str]:
        """One line a source."""
        lines = []
        for i, (paper, table, setting, certainty) in enumerate(self.known, 1):
            flag = "" if certainty == "source" else f"; {CERTAINTIES[certainty]}"
            where = f", table {table}" if table else ""
            lines.append(f"[{i}] {paper}{where}: {setting}{flag}")
        doubtful = [f"[{i}]" for i, key in enumerate(self.known, 1) if key[-1] not in TRUSTED]
        if doubtful:
            lines.append(f"{FLAG} not to be judged by, for how it is known: {', '.join(doubtful)}, after the semicolon")
        return lines


def _digits(value: float | None) -> int:
    return 0 if value is None or value == int(value) else len(repr(value).partition(".")[2])


def common_n(table: Table) -> int | None:
    """The n that every interval has which is complete; a cell with another one says so itself."""
    counts = [
        entry.ours.n for row in table.entries.values() for entry in row.values() if entry.ours and entry.ours.half is not None
    ]
    return max(counts) if counts else None


def metric_notes(table: Table) -> list[str]:
    """What each metric of the table means, and which columns show it."""
    notes = []
    for name in dict.fromkeys(column.metric for column in table.spec.columns):
        where = [column.label for column in table.spec.columns if column.metric == name]
        columns = "" if len(where) == len(table.spec.columns) else f" ({', '.join(where)})"
        unit = f" in {METRICS[name].unit}" if METRICS[name].unit else ""
        notes.append(f"{name}{unit}{columns}: {METRICS[name].meaning}.")
    return notes


def interval_notes(table: Table) -> list[str]:
    """What the intervals are over, and of how many values."""
    spec, n = table.spec, common_n(table)
    if not any(entry.ours for row in table.entries.values() for entry in row.values()):
        return []
    over = f"seeds {', '.join(map(str, spec.seeds))}" if spec.over == "seeds" else "episodes"
    if n is None:
        notes = [f"Mean over {over}; no interval under {MIN_FOR_INTERVAL}, n in brackets."]
    else:
        notes = [f"Mean ± 95 % confidence interval (Student t) over {over}, n = {n}; other n in brackets, no interval under 3."]
    if any(entry.paired for row in table.entries.values() for entry in row.values()):
        notes.append(
            f"'minus {spec.compare_to}': mean of the differences between runs that share a seed, with the same kind of interval."
        )
    return notes


def missing_notes(table: Table) -> list[str]:
    """Why cells are empty: what this machine lacks, and which runs failed."""
    notes = [f"Not run here: {table.spec.unavailable}."] if table.spec.unavailable and table.missing else []
    for cell in table.missing:
        notes += [f"{cell.name}: the run with seed {seed} failed: {reason}" for seed, reason in cell.failed.items()]
    return notes


def commands(table: Table) -> tuple[str, ...]:
    """What fills the missing cells: a command for each when they are few, and the one that fills them all."""
    missing = {cell.overrides: cell for cell in table.missing}
    if not missing:
        return ()
    flags = [" --retry-failed"] if any(cell.failed for cell in missing.values()) else []
    flags += [" --available"] if table.spec.unavailable else []
    words = "".join(f" {shlex.quote(word)}" for word in (*table.extra, *table.folders))
    runs = len({(cell.overrides, seed) for cell in missing.values() for seed in cell.missing})
    everything = f"hdx table {table.spec.name}{words} --run{''.join(flags)}    # all {runs} missing runs"
    if table.spec.unavailable or len(missing) > SHOWN_COMMANDS:
        return (everything,)
    return (*(command(cell, table.folders) for cell in missing.values()), everything)


def command(cell: Cell, folders: Sequence[str] = ()) -> str:
    """`hdx train … seed=1` for one missing seed of a cell, `hdx sweep … seed=0,1,2` for several."""
    verb = "train" if len(cell.missing) == 1 else "sweep"
    words = [*cell.overrides, f"seed={','.join(map(str, cell.missing))}", *folders, *(["--retry-failed"] if cell.failed else [])]
    return f"hdx {verb} {' '.join(shlex.quote(word) for word in words)}"
