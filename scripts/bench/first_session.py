"""The first-session-adaptation comparison on real data: arms x class orders, paired differences to no adaptation.

HDX_DATA=... python scripts/bench/first_session.py [--datasets caltech101 omniglot] [--seeds 0 1 2] [--save]

Each cell is an `hdx train` run under --output-dir; finished runs are read, not run again. Intervals are Student t over class
orders, of the difference to `fsa_na` with the same class order.
"""

from __future__ import annotations

import argparse
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
from scipy.stats import t as student

RESULTS = Path(__file__).parent / "results" / "first_session.md"
ARMS = {
    "fsa_na": ["+exp=fsa_na"],
    "fsa_film": ["+exp=fsa_film"],
    "fsa_full": ["+exp=fsa_full"],
    "ncm_frozen": ["+exp=ncm_frozen"],
    "finetune": ["+exp=finetune"],
    "joint": ["+exp=joint"],
}
SETTINGS = {
    "caltech101 B50-Inc10": ["dataset=caltech101", "protocol.first=50", "protocol.step=10"],
    "caltech101 B10-Inc10": ["dataset=caltech101", "protocol.step=10"],
    "omniglot B200-Inc50": ["dataset=omniglot", "dataset.subset=evaluation", "protocol.first=200", "protocol.step=51"],
    "omniglot B60-Inc60": ["dataset=omniglot", "dataset.subset=evaluation", "protocol.step=60"],
}


def run(words: list[str], seed: int, output_dir: str) -> dict:
    """The record of one run."""
    command = [sys.executable, "-m", "hdx.cli.main", "train", "--json", *words, f"seed={seed}", f"output_dir={output_dir}"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit code {done.returncode}\n{done.stdout}")
    return json.loads(done.stdout)


def interval(values: np.ndarray) -> str:
    """`mean ± half width` of the 95 % Student interval in points; n instead under three values."""
    if len(values) < 3:
        return f"{values.mean():.2f} (n={len(values)})"
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return f"{values.mean():.2f} ± {half:.2f}"


def table(name: str, records: dict[str, list[dict]]) -> list[str]:
    """Markdown rows of one setting."""
    points = {arm: np.array([100 * r["metrics"]["acc_last"] for r in runs]) for arm, runs in records.items()}
    lines = [
        f"**{name}**",
        "",
        "| arm | trainable | acc_last | difference to fsa_na | acc_avg_inc | forgetting | session 1 | seconds |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for arm, runs in records.items():
        mean = {key: 100 * np.mean([r["metrics"][key] for r in runs]) for key in ("acc_avg_inc", "forgetting")}
        first = 100 * np.mean([r["sessions"][0]["acc"] for r in runs])
        apart = "" if arm == "fsa_na" else interval(points[arm] - points["fsa_na"])
        seconds = np.mean([r["seconds"]["wall"] for r in runs])
        lines.append(
            f"| {arm} | {runs[0]['trainable_parameters']:,} | {interval(points[arm])} | {apart} | {mean['acc_avg_inc']:.2f} "
            f"| {mean['forgetting']:.2f} | {first:.2f} | {seconds:.0f} |"
        )
    gain = np.mean([r["metrics"]["gain_predictor"] for r in records["fsa_na"]])
    return [*lines, "", f"Mean over {len(points['fsa_na'])} class orders; gain predictor {gain:.3f}.", ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", nargs="+", default=list(SETTINGS), choices=list(SETTINGS), metavar="SETTING")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--arms", nargs="+", default=list(ARMS), choices=list(ARMS))
    parser.add_argument("--output-dir", default="outputs")
    parser.add_argument("--save", action="store_true", help=f"write {RESULTS.name}")
    args = parser.parse_args()
    lines: list[str] = []
    for name in args.settings:
        records = {}
        for arm in args.arms:
            records[arm] = [run([*ARMS[arm], *SETTINGS[name]], seed, args.output_dir) for seed in args.seeds]
            print(f"{name} {arm}", file=sys.stderr, flush=True)
        lines += table(name, records)
        print("\n".join(lines), flush=True)
    if args.save:
        RESULTS.write_text("\n".join(lines))


if __name__ == "__main__":
    main()
