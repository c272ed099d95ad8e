"""Sweeps: 100 runs over cached features against separate processes, and kills at random moments.

python scripts/bench/sweep.py                 # 5 heads x 4 shots x 5 seeds on caltech101 (needs HDX_DATA)
python scripts/bench/sweep.py --kills 20      # kill -9 of the sweep and its workers, then the sweep again
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HEADS = "lda,ncm,ncm_cosine,linear,cosine"
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1"}


def hdx(*arguments: str, home: Path) -> tuple[float, float, dict]:
    """Run a command to its end. Returns: wall seconds, CPU seconds of it and its children, its document."""
    command = [sys.executable, "-m", "hdx.cli.main", *arguments, f"output_dir={home}", "--json"]
    before, began = os.times(), time.monotonic()
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True)
    wall, after = time.monotonic() - began, os.times()
    if not done.stdout.strip():
        raise SystemExit(done.stderr)
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu, json.loads(done.stdout)


def grid(body: list[str], heads: str, shots: str, seeds: int) -> list[str]:
    return ["+exp=fsa_na", "protocol=offline", *body, f"head={heads}", f"protocol.shots={shots}", f"seed=range({seeds})"]


def cached(args: argparse.Namespace, home: Path) -> None:
    body = [f"dataset={args.dataset}", *args.body]
    words = grid(body, HEADS, args.shots, args.seeds)
    # The extraction: one run that uses every image.
    wall, cpu, _ = hdx("sweep", *grid(body, "ncm", "null", 1), home=home)
    print(f"extraction                    {wall:7.1f} s wall  {cpu:7.1f} s CPU")
    wall, cpu, found = hdx("sweep", *words, home=home)
    n = found["runs"]
    assert found["states"] == {"finished": n} and found["ran"] == n, found
    print(f"sweep of {n} runs              {wall:7.1f} s wall  {cpu:7.1f} s CPU  ({wall / n:.2f} s a run)")
    again, _, found = hdx("sweep", *words, home=home)
    assert found["ran"] == 0
    print(f"the same sweep again          {again:7.2f} s wall")
    heads, shots = HEADS.split(","), args.shots.split(",")
    sample = [(heads[i % len(heads)], shots[i % len(shots)], i % args.seeds) for i in range(args.sample)]
    walls, cpus = [], []
    for head, shot, seed in sample:
        single = ["+exp=fsa_na", "protocol=offline", *body, f"head={head}", f"protocol.shots={shot}", f"seed={seed}", "--force"]
        one_wall, one_cpu, _ = hdx("train", *single, home=home)
        walls.append(one_wall)
        cpus.append(one_cpu)
        print(f"hdx train head={head} shots={shot} seed={seed}:  {one_wall:.1f} s wall  {one_cpu:.1f} s CPU")
    mean = sum(walls) / len(walls)
    print(f"{n} separate processes         {n * mean:7.1f} s wall (from a sample of {len(walls)}, one after the other)")
    print(f"ratio (wall)                  {n * mean / wall:7.1f}")
    print(f"ratio (CPU seconds)           {n * sum(cpus) / len(cpus) / cpu:7.1f}")


def children(pid: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def kills(args: argparse.Namespace, home: Path) -> None:
    words = [
        "+exp=fsa_film",
        "dataset=digits",
        "backbone=conv4",
        "protocol.step=2",
        "trainer.epochs=10",
        "trainer.checkpoint_seconds=1",
    ]
    words += ["head=lda,ncm", f"seed=range({args.seeds})", "launcher.workers=2"]
    command = [sys.executable, "-m", "hdx.cli.main", "sweep", *words, f"output_dir={home}"]
    chance = random.Random(args.seed)
    print("kill  after    what               finished before")
    for number in range(args.kills):
        process = subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait = chance.uniform(0.5, args.longest)
        time.sleep(wait)
        if process.poll() is not None:
            print(f"{number + 1:4}  {wait:5.1f} s  the sweep was over")
            continue
        what = chance.choice(["sweep", "worker", "all"])
        workers = children(process.pid)
        victims = {"sweep": [process.pid], "worker": workers[:1], "all": [process.pid, *workers]}[what] or [process.pid]
        for victim in victims:
            os.kill(victim, signal.SIGKILL)
        if what == "worker":
            time.sleep(chance.uniform(0, 2))
            process.kill()
        process.wait()
        print(f"{number + 1:4}  {wait:5.1f} s  {what:<17}  {len(list(home.glob('runs/*/*/record.json'))):>3}", flush=True)
    _, _, found = hdx("sweep", *words, home=home)
    runs = [file.parent for file in home.glob("runs/*/*/record.json")]
    whole = sum(len(json.loads((run / "record.json").read_text())["sessions"]) == 5 for run in runs)
    rows = sum(len((run / "metrics.csv").read_text().splitlines()) == 6 for run in runs)
    left = len(list(home.glob("runs/*/*/lease.json")))
    print(
        f"then the sweep again: {found['states']} of {found['runs']} runs; {whole} records with all sessions, {rows} metrics.csv"
    )
    print(f"with each row once, {left} leases left behind")
    assert found["states"] == {"finished": found["runs"]} and whole == rows == len(runs) == found["runs"] and left == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("body", nargs="*", help="overrides of the body, such as backbone.pretrained=false")
    parser.add_argument("--dataset", default="caltech101")
    parser.add_argument("--shots", default="1,5,10,25")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--sample", type=int, default=5, help="separate processes that are measured")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--longest", type=float, default=15.0, help="seconds after which a kill comes at the latest")
    parser.add_argument("--seed", type=int, default=0, help="of the kills")
    args = parser.parse_args()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as folder:
        (kills if args.kills else cached)(args, Path(folder))


if __name__ == "__main__":
    main()
