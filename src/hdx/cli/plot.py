"""`hdx plot KIND …`: a figure from finished runs, or from the cells of a table."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.report.groups import Group

SUMMARY = "draw runs: sessions, matrix, forgetting, parameters, shots, cost; PNG, SVG or PDF"
KINDS = ("sessions", "matrix", "forgetting", "parameters", "shots", "cost")
OF_SESSIONS = ("sessions", "matrix", "forgetting")
EPILOG = """\
kinds:
  sessions    accuracy after each session, with confidence bands over seeds
  matrix      accuracy after each session on the classes of each session
  forgetting  best minus current accuracy of earlier sessions' classes, after each session
  parameters  a metric against trainable parameters
  shots       a metric against training images a class
  cost        a metric against seconds, or images (--cost images)

examples:
  hdx plot sessions dataset=digits --out sessions.pdf
  hdx plot shots --table heads_shots --out shots.svg
  hdx plot parameters --table fsa_adapters_heads --column 'Caltech-101' --out parameters.png
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Kind, which runs, metric, file."""
    parser.add_argument("kind", nargs="?", metavar="KIND", help=f"one of {', '.join(KINDS)}")
    parser.add_argument(
        "filters",
        nargs="*",
        metavar="RUN|FILTER",
        help="which runs: an id (exp/hash-sN) or a group (exp/hash), or as in hdx runs: head=lda, 'acc_last>0.9', output_dir=…",
    )
    parser.add_argument(
        "--table", metavar="NAME", help="the cells of a table; words of KEY=VALUE are then overrides of every cell"
    )
    parser.add_argument("--row", action="append", default=[], metavar="LABEL", help="of the table: this row only (repeatable)")
    parser.add_argument(
        "--column", action="append", default=[], metavar="LABEL", help="of the table: this column only (repeatable)"
    )
    parser.add_argument("--metric", help="of parameters, shots and cost; default: acc_last, of runs on episodes acc")
    parser.add_argument("--cost", choices=("seconds", "images"), default="seconds", help="of the plot cost; default: seconds")
    parser.add_argument("--out", metavar="FILE", help="a .png, .svg or .pdf; default: KIND.png")
    _common.add_config_dir_argument(parser)
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Find the runs, draw, say what was drawn. The sentence can serve as a caption."""
    from pathlib import Path

    from hdx.errors import ConfigError
    from hdx.registry import did_you_mean
    from hdx.report import groups, metrics
    from hdx.report.plots import style

    if args.kind is None:
        raise ConfigError(f"expected a kind of plot, got none  (one of {', '.join(KINDS)})")
    if args.kind not in KINDS:
        raise ConfigError(f"kind '{args.kind}' is unknown.{did_you_mean(args.kind, list(KINDS))}  (one of {', '.join(KINDS)})")
    out = Path(args.out or f"{args.kind}.png")
    style.check_out(out)
    if args.metric is not None:
        metrics.find(args.metric)
    chosen = groups.require(_of_table(args) if args.table else _of_filters(args))
    if args.kind in OF_SESSIONS:
        chosen = groups.of_sessions(chosen)
    elif args.metric is None:
        args.metric = "acc" if all(map(groups.on_episodes, chosen)) else "acc_last"
    caption = _draw(args, chosen, out)
    if args.json:
        _common.print_json({"file": str(out), "kind": args.kind, "caption": caption, "groups": [group.label for group in chosen]})
    else:
        print(f"wrote {out}", file=sys.stderr)
        print(caption)
    return 0


def _draw(args: argparse.Namespace, groups: list[Group], out: object) -> str:
    from pathlib import Path

    from hdx.report import metrics
    from hdx.report.plots import matrix, points, sessions

    path, metric = Path(str(out)), metrics.find(args.metric or "acc_last")
    return {
        "sessions": lambda: sessions.sessions(groups, path),
        "forgetting": lambda: sessions.forgetting(groups, path),
        "matrix": lambda: matrix.matrix(groups, path),
        "parameters": lambda: points.parameters(groups, path, metric),
        "shots": lambda: points.shots(groups, path, metric),
        "cost": lambda: points.cost(groups, path, metric, args.cost),
    }[args.kind]()


def _of_filters(args: argparse.Namespace) -> list[Group]:
    from hdx.cli import _runs
    from hdx.errors import ConfigError
    from hdx.report import groups
    from hdx.store.filters import select
    from hdx.store.sides import find_side

    if args.row or args.column:
        raise ConfigError("--row and --column choose among the cells of a table: add --table NAME  (hdx list table)")
    output_dir, words = _runs.split_output_dir(args.filters)
    rows = _runs.refreshed(output_dir).runs()
    names = [word for word in words if not set("=<>") & set(word)]
    found = {row["run_id"]: row for name in names for row in find_side(rows, name)}
    chosen = [row for row in rows if row["run_id"] in found] if names else rows
    return groups.of_rows(select(chosen, [word for word in words if word not in names]))


def _of_table(args: argparse.Namespace) -> list[Group]:
    from hdx.report import groups
    from hdx.report.cells import find_cells
    from hdx.report.table_file import read_table

    spec = read_table(args.table, args.config_dirs)
    _check_labels("row", args.row, [row.label for row in spec.rows])
    _check_labels("column", args.column, [column.label for column in spec.columns])
    cells = find_cells(spec, args.filters, args.config_dirs)
    kept = [
        cell
        for cell in cells
        if (not args.row or cell.row.label in args.row) and (not args.column or cell.column.label in args.column)
    ]
    return groups.of_cells(kept)


def _check_labels(what: str, wanted: list[str], known: list[str]) -> None:
    from hdx.errors import ConfigError
    from hdx.registry import did_you_mean

    wrong = [label for label in wanted if label not in known]
    if wrong:
        raise ConfigError(
            [f"{what} '{label}' is unknown.{did_you_mean(label, known)}  (one of {', '.join(known)})" for label in wrong]
        )
