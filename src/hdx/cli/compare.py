"""`hdx compare A B`: how two runs, or two groups of runs, differ."""

from __future__ import annotations

import argparse
from typing import Any

from hdx.cli import _common, _runs

SUMMARY = "config and metric differences of two runs or groups: hdx compare fsa_na/1f0c2a7b fsa_film/9c01d2ee"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The two sides."""
    parser.add_argument(
        "sides", nargs="*", metavar="RUN|GROUP", help="two of: a run id (exp/hash-sN), a group (exp/hash); output_dir=…"
    )
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Find both, compare, print."""
    from hdx.errors import ConfigError
    from hdx.store.sides import compare, find_side

    output_dir, names = _runs.split_output_dir(args.sides)
    if len(names) != 2:
        raise ConfigError(f"expected two runs or groups, got {len(names)}: hdx compare A B  (hdx runs lists them)")
    rows = _runs.refreshed(output_dir).runs()
    found = compare(*(find_side(rows, name) for name in names))
    if args.json:
        _common.print_json(found)
    else:
        print("\n".join(lines(found)))
    return 0


def lines(found: dict[str, Any]) -> list[str]:
    """A comparison as text."""
    text = [f"{side.upper()}  {_runs.clean(found[side]['name'])}  {_seeds(found[side]['seeds'])}" for side in ("a", "b")]
    if found["config"]:
        rows = [[entry["key"], _value(entry["a"]), _value(entry["b"])] for entry in found["config"]]
        text += ["", *_runs.table(["config", "A", "B"], rows, cut=(2, 1))]
    else:
        text += ["", "the configs are the same"]
    rows = [_row(entry) for entry in found["metrics"] if entry["a"]["n"] or entry["b"]["n"]]
    costs = [_row(entry) for entry in found["costs"] if entry["a"]["n"] or entry["b"]["n"]]
    text += ["", *_runs.table(["", "A", "B", "B - A", "p"], rows + costs, right=(1, 2, 3, 4))]
    return [*text, "", *_notes(found)]


def _notes(found: dict[str, Any]) -> list[str]:
    paired = next((entry for entry in found["metrics"] if entry["paired"]), None)
    intervals = any(entry[side]["half"] is not None for entry in found["metrics"] for side in ("a", "b"))
    notes = ["accuracies, forgetting, bwt and pd in %"]
    over = paired["over"] if paired else "seeds"
    if intervals:
        notes.append(f"mean ± 95 % interval (Student t over {over})")
    if paired:
        notes.append(f"B - A over the {paired['difference']['n']:,} {over} that both have, p of the paired t-test")
    return [*notes, *_of_costs(found)]


def _of_costs(found: dict[str, Any]) -> list[str]:
    """That costs are those of runs on their own, and what was spent where runs shared work."""
    spent = []
    for entry in found["costs"]:
        for side in ("a", "b"):
            real = entry["spent"][side]
            if entry["alone"] and real["mean"] is not None and real["mean"] != entry[side]["mean"]:
                spent.append(f"{side.upper()} {entry['metric']} {_mean({**real, 'half': None, 'n': 1}, False, False)}")
    return [f"costs as if no run had shared work with others; really spent: {', '.join(spent)}"] if spent else []


def _seeds(seeds: list[int]) -> str:
    return f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {', '.join(map(str, seeds))}"


def _row(entry: dict[str, Any]) -> list[str]:
    percent = _runs.in_percent(entry["metric"])
    p = "-" if entry["p"] is None else f"{entry['p']:.2g}"
    return [entry["metric"], *(_mean(entry[key], percent, key == "difference") for key in ("a", "b", "difference")), p]


def _mean(found: dict[str, Any] | None, percent: bool, signed: bool) -> str:
    """`93.21 ± 0.40`; under 3 values `n=2` instead of an interval."""
    if found is None or found["mean"] is None:
        return "-"
    value, half = (100 * x if percent and x is not None else x for x in (found["mean"], found["half"]))
    shown = _number(value, percent, signed)
    if half is not None:
        decimals = len(shown.partition(".")[2]) if "e" not in shown else None  # an interval has no more digits than its mean
        return f"{shown} ± {_number(half, percent, False) if decimals is None else f'{half:,.{decimals}f}'}"
    return shown if found["n"] == 1 else f"{shown} (n={found['n']})"


def _number(value: float, percent: bool, signed: bool) -> str:
    plus = "+" if signed else ""
    if percent:
        return f"{value:{plus}.2f}"
    return f"{value:{plus},.0f}" if abs(value) >= 1000 or float(value).is_integer() else f"{value:{plus}.4g}"


def _value(value: Any) -> str:
    import json

    return "-" if value is None else value if isinstance(value, str) else json.dumps(value)
