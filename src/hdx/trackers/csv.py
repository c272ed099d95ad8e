"""Metrics as rows of `metrics.csv` in the run directory."""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

from hdx.trackers._base import Tracker

KEYS = ("session", "step")


class CsvTracker(Tracker):
    """Rows of metrics.csv, one for each session and step; on disk as soon as it is logged.

    A new metric adds a column, and a second call for the same row fills it up. Where a resumed run reaches a row that is in
    the file already, that row and all after it are dropped: they come from the attempt that was interrupted. A half-written
    last line is dropped too.

    Source: comma-separated values, RFC 4180.
    """

    def __init__(self, run_dir: Path, config: dict[str, Any], run_id: str) -> None:
        super().__init__(run_dir, config, run_id)
        self.path = run_dir / "metrics.csv"
        self.columns = list(KEYS)
        self.rows: dict[tuple[str, str], dict[str, str]] = {}
        self._whole = False  # the file is exactly `rows`, so that one more can be appended
        self._from_before: set[tuple[str, str]] | None = None  # None: not looked yet, and a run may still start over

    def _read(self) -> None:
        """The rows of an earlier attempt."""
        if not self.path.exists():
            return
        with self.path.open(newline="", encoding="utf-8") as file:
            lines = [line for line in file if line.endswith("\n")]
        reader = csv.DictReader(lines)
        if list(reader.fieldnames or [])[:2] != list(KEYS):
            return
        self.columns = list(reader.fieldnames or [])
        for row in reader:
            if None not in row.values() and None not in row:  # as many cells as columns
                self.rows[row["session"], row["step"]] = row

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Add a row, or fill up the one of the same session and step."""
        if self._from_before is None:
            self._read()
            self._from_before = set(self.rows)
        key = (_cell(metrics.get("session", "")), str(step))
        appends = self._whole and key not in self.rows and set(metrics) <= set(self.columns)
        self._drop_from(key)
        self.columns += [name for name in metrics if name not in self.columns]
        row = self.rows.setdefault(key, {})
        row.update({name: _cell(value) for name, value in metrics.items()}, session=key[0], step=key[1])
        if appends:
            with self.path.open("a", newline="", encoding="utf-8") as file:
                csv.DictWriter(file, self.columns, restval="", lineterminator="\n").writerow(row)
        else:
            self._rewrite()

    def _drop_from(self, key: tuple[str, str]) -> None:
        """Forget a row of an earlier attempt and all of that attempt's rows after it."""
        if key in (self._from_before or ()):
            order = list(self.rows)
            for stale in order[order.index(key) :]:
                del self.rows[stale]
            self._from_before = set()

    def _rewrite(self) -> None:
        temporary = self.path.with_suffix(".csv.tmp")
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.columns, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows.values())
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(self.path)
        self._whole = True

    def close(self, summary: dict[str, float]) -> None:
        """Nothing: every row is on disk, and the run record holds the summary."""


def _cell(value: float | str) -> str:
    """Shortest text that reads back as the same number."""
    return str(value) if isinstance(value, (str, int)) else repr(float(value))
