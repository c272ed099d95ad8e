"""kill -9 at random moments: does a run that is resumed end bit-equal to one that nobody disturbed?

    python scripts/bench/kill.py [N=30] [--exp fsa_film,finetune] [--seed 0] [--save [--name kill]]
    python scripts/bench/kill.py 6 --inside --exp simclr,byol,lp_ft,prune,condense --save --name kill_phases

The second line is of phases with several views, modules beside, two optimisers, a recipe of their own, and of work without
gradients.

Each kill gets a run of its own, in an empty output_dir: the moments are drawn one from each N-th part of the time that
the undisturbed run takes, imports included; with --inside of the time between its first checkpoint inside a phase and the commit
of its last session. After the kill the run is resumed to its end, and predictions, accuracies and the last checkpoint are
compared bit by bit.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file

#: digits; a checkpoint after every step, so that kills also fall on the writing of checkpoints
SMALL = ["dataset=digits", "trainer.checkpoint_seconds=0"]
IN_FIVE_SESSIONS = ["protocol.step=2"]
#: what makes runs of about the same length: fsa_film has one gradient phase and finetune five
WORDS = {
    "fsa_film": [*IN_FIVE_SESSIONS, "trainer.epochs=20"],
    "finetune": [*IN_FIVE_SESSIONS, "trainer.epochs=3"],
    "simclr": ["protocol.shots=20", "trainer.epochs=20"],
    "byol": ["protocol.shots=20", "trainer.epochs=20"],
    "lp_ft": ["protocol.shots=20", "trainer.epochs=5", "trainer.feature_epochs=50", "method.head_scale=2"],
    "prune": ["protocol.shots=20", "trainer.epochs=5", "method.epochs=3"],
    "condense": ["method.per_class=2", "method.batch=4", "method.steps=20", "method.network_steps=2", "trainer.epochs=10"],
}


def command(exp: str, output_dir: Path, *more: str) -> list[str]:
    """`hdx train` of a small run on the CPU."""
    return [
        *(sys.executable, "-m", "hdx.cli.main", "train", f"+exp={exp}", f"output_dir={output_dir}", "accelerator=cpu"),
        *SMALL,
        *WORDS.get(exp, [*IN_FIVE_SESSIONS, "trainer.epochs=3"]),
        *more,
    ]


def run(arguments: list[str]) -> float:
    """Seconds a command takes that must succeed."""
    started = time.monotonic()
    subprocess.run(arguments, check=True, stdout=subprocess.DEVNULL, env=environment())
    return time.monotonic() - started


def environment() -> dict[str, str]:
    """One thread, as bits depend on how many share a sum."""
    return {**os.environ, "OMP_NUM_THREADS": "1"}


def kill_after(arguments: list[str], seconds: float, inside: Path | None = None) -> bool:
    """Start a command and kill -9 it, `seconds` after its start or, with the output_dir `inside`, after its first checkpoint in a
    phase. Returns: whether it was still running."""
    process = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    while inside is not None and process.poll() is None and not in_phase(inside):
        time.sleep(0.005)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        return True


def in_phase(output_dir: Path) -> bool:
    """Whether the run under `output_dir` has a checkpoint inside a phase."""
    return next(output_dir.glob("runs/*/*/checkpoint/phase-*.pt"), None) is not None


def seconds_inside(arguments: list[str], output_dir: Path) -> float:
    """Seconds that a command has a checkpoint inside a phase on disk."""
    process, total, last = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, env=environment()), 0.0, time.monotonic()
    while process.poll() is None:
        time.sleep(0.005)
        now = time.monotonic()
        total, last = total + (now - last) * in_phase(output_dir), now
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, arguments)
    return total


def only_run(output_dir: Path) -> Path | None:
    """The run directory under `output_dir`, None before there is one."""
    return next((file.parent for file in output_dir.glob("runs/*/*/config.yaml")), None)


def where(run_dir: Path | None) -> str:
    """How far a run is, in words."""
    if run_dir is None:
        return "before the run directory"
    done = len(list(run_dir.glob("sessions/*.json")))
    phases = len(list(run_dir.glob("checkpoint/phase-*.pt")))
    if (run_dir / "record.json").exists():
        return "after the record"
    if phases:
        return f"{done} sessions done, checkpoints inside {phases} phase{'s' if phases > 1 else ''} of the next"
    return f"{done} sessions done, outside gradient phases"


def results(run_dir: Path) -> dict[str, np.ndarray]:
    """Every array a run leaves: predictions of each session, its accuracies, tensors of the last checkpoint."""
    found: dict[str, np.ndarray] = {}
    for file in sorted(run_dir.glob("predictions/*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            found |= {f"predictions/{file.stem}/{name}": arrays[name] for name in arrays.files}
    for file in sorted(run_dir.glob("sessions/*.json")):
        record = json.loads(file.read_text())
        for name in ("acc", "nll", "ece", "loss", "acc_by_session"):
            found[f"sessions/{file.stem}/{name}"] = np.array(record[name], dtype=np.float64)
    for file in sorted(run_dir.glob("artefact/*.safetensors")):
        found |= {f"{file.stem}/{name}": value for name, value in load_file(file).items()}
    for file in sorted(run_dir.glob("checkpoint/session-*.safetensors")):
        found |= {f"{file.stem}/{name}": value for name, value in load_file(file).items()}
    return found


def differences(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> list[str]:
    """Names of the arrays that are not bit-equal, or only on one side."""
    wrong = sorted(set(one) ^ set(other))
    for name in sorted(set(one) & set(other)):
        a, b = one[name], other[name]
        if a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            wrong.append(name)
    return wrong


def one_kill(exp: str, seconds: float, folder: Path, undisturbed: dict[str, np.ndarray], inside: bool) -> tuple[str, list[str]]:
    """Kill, resume, compare. Returns: where it was killed, and what differs."""
    shutil.rmtree(folder, ignore_errors=True)
    kill_after(command(exp, folder), seconds, folder if inside else None)
    run_dir = only_run(folder)
    place = where(run_dir)
    again = command(exp, folder) if run_dir is None else [sys.executable, "-m", "hdx.cli.main", "resume", str(run_dir)]
    run(again)
    finished = only_run(folder)
    assert finished is not None
    return place, differences(undisturbed, results(finished))


def bench(exp: str, n: int, seed: int, folder: Path, inside: bool) -> str:
    """A Markdown table of n kills of one preset."""
    whole = command(exp, folder / "a")
    seconds = seconds_inside(whole, folder / "a") if inside else run(whole)
    reference = only_run(folder / "a")
    assert reference is not None
    undisturbed = results(reference)
    draw, lines, equal = random.Random(f"{seed}/{exp}"), [], 0
    for number in range(n):
        moment = seconds * (number + draw.random()) / n
        place, wrong = one_kill(exp, moment, folder / "b", undisturbed, inside)
        equal += not wrong
        lines.append(f"| {number + 1} | {moment:.2f} | {place} | {'yes' if not wrong else 'no: ' + ', '.join(wrong[:3])} |")
        print(lines[-1], file=sys.stderr, flush=True)
    what = f"undisturbed {'phases' if inside else 'run'} {seconds:.1f} s"
    head = f"{exp}: {equal} of {n} bit-equal ({len(undisturbed)} arrays each; {what})"
    return "\n".join([head, "", "| kill | after s | where | bit-equal |", "| --- | --- | --- | --- |", *lines])


def main() -> int:
    """Print a table for each preset; the exit code is 1 when a run did not end bit-equal."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("n", nargs="?", type=int, default=30, help="kills of each preset")
    parser.add_argument("--exp", default="fsa_film,finetune")
    parser.add_argument("--body", default="", help="words for the body (default: the preset's, drawn at random)")
    parser.add_argument("--inside", action="store_true", help="kill inside phases only")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--save", action="store_true", help="keep the tables in results/NAME.md")
    parser.add_argument("--name", default="kill", help="of the results (default: kill)")
    args = parser.parse_args()
    SMALL.extend(args.body.split())
    for exp in WORDS:
        if not args.body and exp in ("fsa_film", "finetune", "lp_ft", "prune"):  # the others draw their body anyhow
            WORDS[exp].append("backbone.pretrained=false")
    with tempfile.TemporaryDirectory() as folder:
        tables = [bench(exp, args.n, args.seed, Path(folder) / exp, args.inside) for exp in args.exp.split(",")]
    from _common import publish

    publish(args.name, "kill -9 and resume", tables, args.save)
    return int(any("| no" in table for table in tables))


if __name__ == "__main__":
    sys.exit(main())
