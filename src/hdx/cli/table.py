"""`hdx table NAME`: a paper's table from the runs on disk, beside the published numbers."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.report.table import Table
    from hdx.report.table_spec import TableSpec

SUMMARY = "print a paper's table from the runs on disk, beside the published numbers"
FORMATS = ("terminal", "markdown", "latex", "csv", "json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Name, overrides of every cell, format, and whether missing cells are run."""
    parser.add_argument("name", metavar="NAME", help="a file of conf/table  (hdx list table)")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="for every cell: output_dir=…, data_dir=…, trainer.epochs=1, …"
    )
    _common.add_config_dir_argument(parser)
    parser.add_argument("--run", action="store_true", help="run what is missing first; finished runs are kept")
    parser.add_argument("--retry-failed", action="store_true", help="with --run: try runs again that failed")
    parser.add_argument("--available", action="store_true", help="with --run: the data and weights that the table lacks are here")
    parser.add_argument("--format", choices=FORMATS, default="terminal", help="default: terminal")
    parser.add_argument("--out", metavar="FILE", help="write there instead of printing")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Read the file, run what is missing when asked, print. Returns: 1 when runs of `--run` failed."""
    from hdx.report.table import make_table
    from hdx.report.table_file import read_table

    spec = read_table(args.name, args.config_dirs)
    _refuse_seed(args.overrides)
    table = make_table(spec, args.overrides, args.config_dirs)
    code = 0
    if args.run and table.missing:
        _refuse_unavailable(spec, args.available)
        code = _fill(table, args)
        table = make_table(spec, args.overrides, args.config_dirs)
    _write(rendered(table, "json" if args.json else args.format), args.out)
    return code


def rendered(table: Table, form: str) -> str:
    """The table in one of `FORMATS`."""
    if form in ("csv", "json"):
        from hdx.report.data import as_csv, as_json

        return as_csv(table) if form == "csv" else as_json(table)
    from hdx.report.latex import latex
    from hdx.report.layout import lay_out
    from hdx.report.text import markdown, terminal

    return {"terminal": terminal, "markdown": markdown, "latex": latex}[form](lay_out(table))


def _refuse_seed(overrides: list[str]) -> None:
    from hdx.errors import ConfigError

    if any(word.lstrip("+").startswith("seed=") for word in overrides):
        raise ConfigError("seed cannot be set for a table: its file lists the seeds  (seeds: [0, 1, 2])")


def _refuse_unavailable(spec: TableSpec, available: bool) -> None:
    from hdx.errors import RunError

    if spec.unavailable and not available:
        raise RunError(
            f"table {spec.name} lacks {spec.unavailable}; with these at hand add --available (and data_dir=… where they are)"
        )


def _fill(table: Table, args: argparse.Namespace) -> int:
    """Run what is missing. Returns: the exit code, 1 when runs are not finished."""
    import shlex

    from hdx.cli._fill import fill
    from hdx.config.grid import Planned

    runs: dict[str, Planned] = {}
    for cell in table.missing:
        for seed, config in zip(cell.missing, cell.configs(cell.missing)):
            runs.setdefault(config.run_id, Planned(config, (*cell.overrides, f"seed={seed}")))
    words = [
        "hdx",
        "table",
        args.name,
        *args.overrides,
        *(word for folder in args.config_dirs for word in ("-cd", folder)),
        "--run",
    ]
    words += ["--available"] if args.available else []
    command = " ".join(shlex.quote(word) for word in words)
    return fill(list(runs.values()), sys.stderr, name=table.spec.name, command=command, retry_failed=args.retry_failed)


def _write(text: str, out: Any) -> None:
    if out is None:
        print(text, end="", flush=True)
        return
    from pathlib import Path

    from hdx.store.files import write_bytes

    write_bytes(Path(out), text.encode())
    print(f"wrote {out}", file=sys.stderr)
