"""A table as data, with full precision: one JSON document, or one CSV line for each cell."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict
from typing import Any

from hdx.report.notes import commands
from hdx.report.table import Entry, Estimate, Table

FIELDS = (
    "row",
    "column",
    "metric",
    "unit",
    "ours",
    "ours_ci95",
    "n",
    "published",
    "published_ci",
    "published_metric",
    "paper",
    "paper_table",
    "setting",
    "certainty",
    "difference",
    "paired_with",
    "paired",
    "paired_ci95",
    "paired_n",
    "group",
    "missing_seeds",
    "failed_seeds",
)


def document(table: Table) -> dict[str, Any]:
    """Plain data: the table's head, and its cells, rows first."""
    spec = table.spec
    return {
        "table": spec.name,
        "title": spec.title,
        "caption": list(spec.caption),
        "over": spec.over,
        "seeds": list(spec.seeds),
        "level": 0.95,
        "compare_to": spec.compare_to,
        "unavailable": spec.unavailable,
        "rows": [row.label for row in spec.rows],
        "columns": [column.label for column in spec.columns],
        "cells": [_cell(entry, table) for row in table.entries.values() for entry in row.values()],
        "commands": list(commands(table)),
    }


def _cell(entry: Entry, table: Table) -> dict[str, Any]:
    cell = entry.cell
    return {
        "row": cell.row.label,
        "column": cell.column.label,
        "metric": entry.metric.name,
        "unit": entry.metric.unit,
        "group": None if cell.config is None else f"{cell.config.exp}/{cell.config.group_hash}",
        "overrides": list(cell.overrides),
        "ours": _estimate(entry.ours),
        "values": {str(key): value for key, value in cell.values.items()},
        "published": None if entry.published is None else asdict(entry.published),
        "difference": entry.difference,
        "paired": None if entry.paired is None else {"with": table.spec.compare_to, **(_estimate(entry.paired) or {})},
        "missing_seeds": list(cell.missing),
        "failed": {str(seed): reason for seed, reason in cell.failed.items()},
    }


def _estimate(estimate: Estimate | None) -> dict[str, Any] | None:
    return None if estimate is None else {"mean": estimate.mean, "ci95": estimate.half, "n": estimate.n}


def as_json(table: Table) -> str:
    """`document` as JSON text."""
    return json.dumps(document(table), indent=1, ensure_ascii=False) + "\n"


def as_csv(table: Table) -> str:
    """A header of `FIELDS` and a line for each cell; numbers in full, nothing where there is none."""
    out = io.StringIO()
    writer = csv.DictWriter(out, FIELDS, lineterminator="\n")
    writer.writeheader()
    for cell in document(table)["cells"]:
        writer.writerow(_flat(cell))
    return out.getvalue()


def _flat(cell: dict[str, Any]) -> dict[str, Any]:
    ours, published, paired = cell["ours"] or {}, cell["published"] or {}, cell["paired"] or {}
    return {
        **{key: cell[key] for key in ("row", "column", "metric", "unit", "group", "difference")},
        "ours": ours.get("mean"),
        "ours_ci95": ours.get("ci95"),
        "n": ours.get("n", 0),
        "published": published.get("value"),
        "published_ci": published.get("ci"),
        "published_metric": published.get("metric"),
        "paper": published.get("paper"),
        "paper_table": published.get("table"),
        "setting": published.get("setting"),
        "certainty": published.get("certainty"),
        "paired_with": paired.get("with"),
        "paired": paired.get("mean"),
        "paired_ci95": paired.get("ci95"),
        "paired_n": paired.get("n"),
        "missing_seeds": " ".join(map(str, cell["missing_seeds"])),
        "failed_seeds": " ".join(cell["failed"]),
    }
