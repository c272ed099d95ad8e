"""A table with its numbers: estimates of our runs, published numbers, differences, and paired differences between rows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hdx.metrics.intervals import mean_ci, paired_difference
from hdx.report import metrics
from hdx.report.cells import Cell, find_cells
from hdx.report.table_spec import TRUSTED, Published, TableSpec

MIN_FOR_INTERVAL = 3


@dataclass(frozen=True)
class Estimate:
    """A mean in shown units, and the half-width of its 95 % confidence interval; None under three values."""

    mean: float
    half: float | None
    n: int


@dataclass(frozen=True)
class Entry:
    """What a table shows in one place.

    Attributes:
        ours: mean over seeds or episodes; None when no run is finished.
        difference: ours minus published; None unless both are there and measure the same metric.
        paired: this row minus the row of `compare_to`, over what both have; None without.
    """

    cell: Cell
    ours: Estimate | None
    difference: float | None
    paired: Estimate | None

    @property
    def published(self) -> Published | None:
        """The paper's number."""
        return self.cell.published

    @property
    def metric(self) -> metrics.Metric:
        """What is measured in this column."""
        return metrics.find(self.cell.column.metric)


@dataclass(frozen=True)
class Table:
    """A table file with the numbers of the runs on disk.

    Attributes:
        entries: by row label, then by column label.
        folders: `-cd DIR …` of the command line, as the commands that fill cells need it.
        extra: the overrides of every cell that the command line added.
    """

    spec: TableSpec
    entries: dict[str, dict[str, Entry]]
    extra: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()

    @property
    def cells(self) -> list[Cell]:
        """Every cell, rows first."""
        return [entry.cell for row in self.entries.values() for entry in row.values()]

    @property
    def missing(self) -> list[Cell]:
        """Cells with seeds that have no finished run."""
        return [cell for cell in self.cells if cell.missing]


def make_table(spec: TableSpec, extra: Sequence[str] = (), config_dirs: Sequence[Path | str] = ()) -> Table:
    """Look up the runs of every cell and do the arithmetic. Raises: as `find_cells`."""
    cells = {(cell.row.label, cell.column.label): cell for cell in find_cells(spec, extra, config_dirs)}
    entries = {
        row.label: {
            column.label: _entry(cells[row.label, column.label], _reference(spec, cells, row.label, column.label))
            for column in spec.columns
        }
        for row in spec.rows
    }
    folders = tuple(word for folder in config_dirs for word in ("-cd", str(folder)))
    return Table(spec, entries, tuple(extra), folders)


def _reference(spec: TableSpec, cells: dict[tuple[str, str], Cell], row: str, column: str) -> Cell | None:
    return None if spec.compare_to in (None, row) else cells[spec.compare_to, column]  # type: ignore[index]


def _entry(cell: Cell, reference: Cell | None) -> Entry:
    ours = estimate(list(cell.values.values()))
    published, difference = cell.published, None
    if ours is not None and published is not None and published.value is not None and published.metric == cell.column.metric:
        difference = ours.mean - published.value
    paired = None
    if reference is not None:
        shared = paired_difference(cell.values, reference.values).difference  # type: ignore[arg-type]
        paired = _estimate(shared.mean, shared.half, shared.n)
    return Entry(cell, ours, difference, paired)


def estimate(values: Sequence[float]) -> Estimate | None:
    """Mean of some numbers with its interval; None when there are none."""
    mean = mean_ci(values)
    return _estimate(mean.mean, mean.half, mean.n)


def _estimate(mean: float, half: float, n: int) -> Estimate | None:
    if n == 0:
        return None
    return Estimate(mean, half if n >= MIN_FOR_INTERVAL and not math.isnan(half) else None, n)


def trusted(number: Published) -> bool:
    """Whether a published number was read where it can be relied on."""
    return number.certainty in TRUSTED
