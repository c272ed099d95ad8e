"""`hdx query "select …"`: SQL over the runs."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from hdx.cli import _common, _runs

SUMMARY = 'SQL over the runs, with DuckDB: hdx query "select head, avg(acc_last) from runs group by head"'
EPILOG = """\
tables: runs (one row a run), sessions (one row a session of a finished run), options (one row a config option of a run).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The statement and the form of the answer."""
    parser.add_argument("sql", nargs="*", metavar="SQL", help="one select statement; output_dir=…")
    parser.add_argument("--columns", action="store_true", help="print the tables with their columns and what they mean")
    parser.add_argument("--csv", action="store_true", help="print comma-separated values")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Ask and print."""
    from hdx.errors import ConfigError
    from hdx.store.query import ask, columns

    known = [word for word in args.sql if word.startswith(("output_dir=", "+output_dir="))]
    output_dir, _ = _runs.split_output_dir(known)
    words = [word for word in args.sql if word not in known]
    rows = _runs.refreshed(output_dir).runs()
    if args.columns:
        return _describe(columns(rows), args.json)
    if len(words) != 1:
        raise ConfigError(
            'expected one statement in quotes: hdx query "select run_id, acc_last from runs"  (--columns lists them)'
        )
    names, found = ask(rows, words[0])
    if args.json:
        _common.print_json([{name: _plain(value) for name, value in zip(names, row)} for row in found])
    elif args.csv:
        _csv(names, found)
    else:
        right = [i for i in range(len(names)) if found and all(isinstance(row[i], (int, float, type(None))) for row in found)]
        lines = _runs.table(names, [[_shown(value) for value in row] for row in found], right=right)
        print("\n".join(lines))
    return 0


def _describe(tables: dict[str, dict[str, tuple[str, str]]], as_json: bool) -> int:
    if as_json:
        named = {table: {name: list(about) for name, about in columns.items()} for table, columns in tables.items()}
        _common.print_json(named)
        return 0
    for table, columns in tables.items():
        print(table)
        print(
            "\n".join(f"  {line}" for line in _runs.table(["column", "type", "meaning"], [[n, *a] for n, a in columns.items()]))
        )
    return 0


def _csv(names: list[str], rows: list[tuple[Any, ...]]) -> None:
    import csv

    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(names)
    writer.writerows([["" if value is None else _plain(value) for value in row] for row in rows])


def _plain(value: Any) -> Any:
    """JSON's types as they are, everything else as text; nan is null."""
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return str(value)


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    return f"{value:.6g}" if isinstance(value, float) else str(value)
