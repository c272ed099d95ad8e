"""How long `hdx runs` and its kin take over many run directories.

python scripts/bench/runs.py [--runs 10000] [--keep FOLDER]

Makes run directories as real runs leave them (10 sessions, 100 classes, five seeds a group, one in twenty failed,
interrupted or killed) in a temporary folder, and times whole processes: the first indexing, then each command three times.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from hdx.config.config import Config
from hdx.config.validate import load

HEADS, ADAPTERS, SEEDS, SESSIONS, CLASSES = ("lda", "ncm", "linear", "cosine"), ("none", "film"), 5, 10, 100
METRICS = ("acc_last", "acc_avg_inc", "acc_task_mean", "acc_base", "acc_novel", "acc_harmonic", "forgetting", "bwt", "pd")


def make_runs(output_dir: Path, n_runs: int) -> None:
    """`n_runs` directories; their configs are real, their numbers drawn."""
    rng = np.random.default_rng(0)
    configs = [
        load(["+exp=fsa_film" if adapter == "film" else "+exp=fsa_na", "dataset=caltech101", f"head={head}"])
        for head in HEADS
        for adapter in ADAPTERS
    ]
    for number in range(n_runs):
        group, seed = divmod(number, SEEDS)
        base = configs[group % len(configs)]
        config = Config(
            {**base.data, "seed": seed, "protocol": {**base.data["protocol"], "step": 1 + group}}, base.exp, base.choices
        )
        folder = output_dir / "runs" / config.run_id
        (folder / "sessions").mkdir(parents=True)
        (folder / "config.yaml").write_text(_yaml(config))
        _outcome(folder, config, rng, number)


def _yaml(config: Config) -> str:
    from hdx.config.config import _dump

    return _dump({"exp": config.exp, "group": config.group_hash, "choices": config.choices}) + config.to_yaml()


def _outcome(folder: Path, config: Config, rng: np.random.Generator, number: int) -> None:
    about = {"pid": 2**22 + 1, "host": socket.gethostname(), "heartbeat": time.time() - float(rng.uniform(0, 1e6))}
    if number % 20 == 19:
        state = ("failed", "interrupted", "running")[number // 20 % 3]
        reason = {"reason": "DataError: image 17 is damaged"} if state == "failed" else {}
        (folder / "status.json").write_text(json.dumps({"state": state, **about, **reason}))
        return
    accuracies = rng.uniform(0.5, 0.99, SESSIONS)
    sessions = [_session(index, float(acc), rng) for index, acc in enumerate(accuracies)]
    for session in sessions:
        (folder / "sessions" / f"{session['index']:02d}.json").write_text(json.dumps(session, indent=1))
    record = {
        "run_id": config.run_id,
        "run_dir": str(folder),
        "n_sessions": SESSIONS,
        "classes": CLASSES,
        "metrics": dict(zip(METRICS, rng.uniform(0, 1, len(METRICS)).tolist())),
        "sessions": sessions,
        "trainable_parameters": 2880,
        "images_forwarded": 9000,
        "seconds": {"sessions": 12.0, "wall": 13.0},
    }
    (folder / "record.json").write_text(json.dumps(record, indent=1))
    (folder / "status.json").write_text(json.dumps({"state": "finished", **about}))


def _session(index: int, acc: float, rng: np.random.Generator) -> dict[str, object]:
    seen = CLASSES * (index + 1) // SESSIONS
    return {
        "index": index,
        "acc": acc,
        "n_test": 30 * seen,
        "acc_by_session": rng.uniform(0, 1, index + 1).tolist(),
        "acc_per_class": dict(zip((f"class_{i}" for i in range(seen)), rng.uniform(0, 1, seen).tolist())),
    }


def timed(output_dir: Path, *words: str) -> float:
    """Seconds of one `hdx` process."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "hdx.cli.main", *words, f"output_dir={output_dir}"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"})
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--keep", type=Path, help="make or reuse the directories here")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        output_dir = args.keep or Path(temporary)
        if not (output_dir / "runs").exists():
            started = time.perf_counter()
            make_runs(output_dir, args.runs)
            print(f"made {args.runs} run directories in {time.perf_counter() - started:.1f} s")
        time.sleep(3)
        (output_dir / "index" / "runs.sqlite").unlink(missing_ok=True)
        print(f"first indexing: hdx runs {timed(output_dir, 'runs'):.2f} s")
        one = next((output_dir / "runs").glob("*/*/record.json"))
        commands = [
            ["runs"],
            ["runs", "state=failed"],
            ["runs", "acc_last>0.9", "head=lda", "--sort", "acc_last"],
            ["runs", "--json"],
        ]
        commands += [["query", "select head, avg(acc_last) from runs group by head"]]
        for words in commands:
            seconds = [timed(output_dir, *words) for _ in range(3)]
            print(f"hdx {' '.join(words):<60} median {statistics.median(seconds):.2f} s of {[round(s, 2) for s in seconds]}")
        one.write_text(one.read_text())
        print(f"hdx runs after one run changed {timed(output_dir, 'runs'):.2f} s")


if __name__ == "__main__":
    main()
