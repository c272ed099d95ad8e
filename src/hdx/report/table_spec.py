"""A table as its config file describes it: rows, columns, metric, seeds, and the numbers of the papers."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: How well a published number is known, and whether a difference to it may be judged by.
CERTAINTIES = {
    "source": "read in the authors' own paper or code",
    "reimplementation": "read in somebody else's re-implementation",
    "abstract": "read in an abstract, a README or a paper note",
    "inferred": "number read, its metric or setting inferred",
    "memory": "from memory, not verified",
}
TRUSTED = ("source", "reimplementation")
OVER = ("seeds", "episodes")


@dataclass(frozen=True)
class Published:
    """A number from a paper, in the unit it is printed in there (accuracies in percent).

    Attributes:
        value: None when the paper has a number and the sources at hand do not give it.
        ci: half-width of the paper's interval, None where it gives none.
        table: number of the table in the paper, None where the sources do not say.
        setting: protocol, body, shots and whatever else the number depends on.
        metric: the name hdx has for what the paper measured; a difference is printed only for the same metric.
        certainty: a key of `CERTAINTIES`.
    """

    value: float | None
    ci: float | None
    paper: str
    table: str | None
    setting: str
    metric: str
    certainty: str


@dataclass(frozen=True)
class Row:
    """One line of a table.

    Attributes:
        run: overrides of its runs; None when hdx cannot run it and only published numbers are shown.
        published: numbers by column label.
        section: heading above this row and those after it.
    """

    label: str
    run: tuple[str, ...] | None
    published: dict[str, Published]
    section: str | None


@dataclass(frozen=True)
class Column:
    """One column: overrides on top of the row's, and the metric where it is not the table's."""

    label: str
    set: tuple[str, ...]
    metric: str


@dataclass(frozen=True)
class TableSpec:
    """A checked table file.

    Attributes:
        set: overrides of every cell, before those of row and column.
        over: what intervals are over, `seeds` or `episodes`.
        compare_to: label of the row that the others are paired with; None without paired differences.
        unavailable: which data or weights the machine lacks that the table was written on; None when it has all.
    """

    name: str
    file: Path
    title: str
    caption: tuple[str, ...]
    metric: str
    over: str
    set: tuple[str, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    seeds: tuple[int, ...]
    compare_to: str | None
    unavailable: str | None

    def row(self, label: str) -> Row:
        """The row of a label. Raises: KeyError."""
        return next(row for row in self.rows if row.label == label)
