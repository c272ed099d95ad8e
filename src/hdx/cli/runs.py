"""`hdx runs`: list runs and filter them."""

from __future__ import annotations

import argparse
from typing import Any

from hdx.cli import _common, _runs

SUMMARY = "list runs: hdx runs state=failed exp=fsa_* 'acc_last>0.9' 'age<2d'"
EPILOG = """\
filters: KEY=A,B  KEY!=A  KEY>NUMBER  (>=, <, <=); all of them must hold; quote < and > for the shell.
keys:    state (finished, running, interrupted, failed, new), exp, group, seed, dataset, backbone, head, adapter, method, …,
         every metric (acc_last, forgetting, …), every config option (head.ridge, protocol.shots, …), seconds,
         trainable_parameters, images_forwarded, and age: time since the run ended or last gave a sign of life (s, m, h, d, w)
"""
SHOWN = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Filters, order, and how much to show."""
    parser.add_argument("filters", nargs="*", metavar="FILTER", help="state=failed, exp=…, 'acc_last>0.9', …; output_dir=…")
    parser.add_argument(
        "--sort", metavar="KEY", help="by a key, a metric or an option, largest first (default: the newest first)"
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument(
        "--limit", type=int, metavar="N", help=f"how many to show (default: {SHOWN} as text, all as JSON; 0: all)"
    )
    parser.add_argument("--ids", action="store_true", help="only the run ids, one a line: hdx rm $(hdx runs state=failed --ids)")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Find them and print."""
    from hdx.store.filters import select

    output_dir, words = _runs.split_output_dir(args.filters)
    everything = _runs.refreshed(output_dir).runs()
    rows = _sorted(select(everything, words), args.sort, args.reverse, everything)
    limit = args.limit if args.limit is not None else (0 if args.json or args.ids else SHOWN)
    shown = rows[:limit] if limit > 0 else rows
    if args.json:
        _common.print_json([{key: value for key, value in row.items() if key != "progress" or value} for row in shown])
    elif args.ids:
        print("".join(f"{_runs.clean(row['run_id'])}\n" for row in shown), end="")
    else:
        _print(shown, len(rows), len(everything), str(output_dir / "runs"))
    return 0


def _sorted(rows: list[dict[str, Any]], key: str | None, reverse: bool, everything: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Largest first; runs without a value last, whichever way."""
    from hdx.store.filters import check_key, known_keys
    from hdx.store.index import value

    if key is not None:
        check_key(key, known_keys(everything))
    having = [(value(row, key or "updated"), row) for row in rows]
    with_value = [pair for pair in having if isinstance(pair[0], (int, float, str))]
    numeric = all(isinstance(found, (int, float)) for found, _ in with_value)
    with_value.sort(key=lambda pair: pair[0] if numeric else str(pair[0]), reverse=not reverse)
    return [row for _, row in with_value] + [row for found, row in having if not isinstance(found, (int, float, str))]


def _print(rows: list[dict[str, Any]], n_found: int, n_all: int, where: str) -> None:
    if not rows:
        print(f"no runs under {where}" if n_all == 0 else f"none of {n_all:,} runs fits")
        return
    head = ["run", "state", "dataset", "head", "accuracy", "avg_inc", "age"]
    lines = _runs.table(head, [_cells(row) for row in rows], right=(4, 5, 6), cut=(3, 2, 0))
    print(lines[0])
    for row, line in zip(rows, lines[1:]):
        print(line)
        if row["reason"]:
            print(_runs.shorten(_runs.clean(f"    {row['reason']}"), _runs.width_of_lines()))
    if any(row["exchanged"] for row in rows):
        print("* with another part than the preset's  (hdx show run=… says which)")
    if len(rows) < n_found:
        print(f"… {n_found - len(rows):,} more  (--limit 0 shows all)")


def _cells(row: dict[str, Any]) -> list[str]:
    metrics = row["metrics"]
    accuracies = [_runs.percent(metrics.get("acc_last", metrics.get("acc"))), _runs.percent(metrics.get("acc_avg_inc"))]
    names = [f"{row['run_id']}{'*' if row['exchanged'] else ''}", row["state"], row["dataset"] or "-", row["head"] or "-"]
    return [*names, *accuracies, _runs.duration(row["age"])]
