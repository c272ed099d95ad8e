"""What a short run of every preset comes to, bit by bit: written down once, and compared after a change that may change nothing.

    [HDX_DATA=...] python scripts/bench/recordings.py [--only 'cil_*']             # run again, a line for each difference
    [HDX_DATA=...] python scripts/bench/recordings.py --record [--only 'new_*']    # run and write down

Each preset runs by its `hdx train` command line, cut down by `SMALL`, on one thread of a CPU, in a folder of its own. The
recording keeps the words of each run, so that a comparison runs the same words. Bits are promised on the machine and the torch
of the recording alone.
"""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import hashlib
import io
import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # before torch is imported

import numpy as np
from _common import RESULTS, machine

from hdx.cli.main import main as hdx
from hdx.config import paths

FILE = RESULTS / "recordings.json"
PLACE = ("accelerator=cpu", "threads=1")
DATA = ("digits", "formulas", "omniglot", "omniglot_runs", "caltech101", "sign_digits", "cross_domain")
ELSEWHERE = ("dataset=caltech101", "protocol.lists=null")  # for a preset whose own data nobody can ship
#: what makes a run short, wherever a preset takes it: the most of a number, or a value in place of another
SMALL: dict[str, Any] = {
    "trainer.epochs": 2,
    "trainer.feature_epochs": 3,
    "trainer.batch_size": 24,
    "protocol.shots": 6,
    "protocol.base_shots": 6,
    "protocol.queries": 4,
    "protocol.episodes": 12,
    "method.episodes_per_epoch": 3,
    "method.ways": 20,
    "method.steps": 4,
    "memory.size": 30,
    "head.projections": 300,
    "dataset.image_size": 28,
    "dataset.subset": "evaluation",
    "dataset.rotations": "false",
    "dataset.source": "sign_digits",
    "dataset.test_fraction": 0.1,
    "dataset.train_per_class": 6,
    "dataset.test_per_class": 4,
    "dataset.fractals": 8,
    "dataset.glyphs": 8,
    "dataset.shapes": 4,
    "backbone.image_size": 32,
}
#: what is kept of a run's record, and of each of its sessions
TOLD = ("run_id", "metrics", "trainable_parameters", "head_state_bytes", "images_forwarded", "images_trained", "teacher_images")
#: what is kept and not compared: the words, and the name, which is the identity's (its own recording is a test's)
APART: dict[str, Any] = {"words": None, "run_id": None}
TOLD_OF_SESSION = ("acc", "nll", "ece", "loss", "images_forwarded", "images_trained", "memory_images", "selection")


class Refused(Exception):
    """What hdx said in place of a document."""


def said(*words: str) -> Any:
    """The document of `hdx WORDS --json`, run in this process. Raises: Refused."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = hdx([*words, "--json"])
    if code:
        raise Refused(next((line for line in err.getvalue().splitlines() if line.startswith("hdx: ")), err.getvalue()))
    return json.loads(out.getvalue())


def presets() -> dict[str, str]:
    """Every preset with the word that chooses it: as its header lays it over others, else by its name alone."""
    found = {}
    for file in sorted((paths.packaged() / "exp").glob("*.yaml")):
        head = [line.lstrip("# ") for line in file.read_text(encoding="utf-8").splitlines() if line.startswith("# hdx ")]
        words = [word for line in head for word in shlex.split(line) if word.startswith("+exp=")]
        found[file.stem] = words[0] if words else f"+exp={file.stem}"
    return found


def short(choice: str) -> list[str]:
    """The words of a short run of a preset: each that hdx takes together with those before it. Raises: Refused."""
    words = [choice]
    if not _takes(words) or said("config", choice)["dataset"]["name"] not in DATA:
        words.append(ELSEWHERE[0])
        words += [ELSEWHERE[1]] if _takes([*words, ELSEWHERE[1]]) else []
    config = said("config", *words)
    for option, value in SMALL.items():
        group, _, name = option.partition(".")
        given = config[group].get(name)
        smaller = isinstance(value, str) or given is None or given > value
        if name in config[group] and smaller and _takes([*words, f"{option}={value}"]):
            words.append(f"{option}={value}")
    if overrides := config["teacher"].get("overrides"):
        words.append(f"teacher.overrides={json.dumps([*overrides, *_short_teacher()], separators=(',', ':'))}")
    return words


def _takes(words: list[str]) -> bool:
    try:
        said("config", *words)
    except Refused:
        return False
    return True


def _short_teacher() -> list[str]:
    return [f"{name}={SMALL[name]}" for name in ("trainer.epochs", "trainer.batch_size", "protocol.shots")]


def outcome(words: list[str], shared: Path) -> dict[str, Any]:
    """What a run of these words comes to, its teacher's before it; decoded images are kept in `shared`. Raises: Refused."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "cache").symlink_to(shared)
        place = [*PLACE, f"output_dir={folder}"]
        if overrides := said("config", *words)["teacher"].get("overrides"):
            said("train", *overrides, *place)
        record = said("train", *words, *place)
        sessions = [{name: each[name] for name in TOLD_OF_SESSION if name in each} for each in record["sessions"]]
        told = {name: record[name] for name in TOLD if name in record}
        return {**told, "sessions": sessions, "digests": dict(sorted(_digests(Path(record["run_dir"]))))}


def _digests(run_dir: Path) -> Iterator[tuple[str, str]]:
    """A digest of each array of the predictions over all sessions, and of each part of the last state.

    The tensors of a part are taken by what they hold and not by what they are called.
    """
    from safetensors.numpy import load_file

    arrays: dict[str, list[str]] = {}
    for file in sorted(run_dir.glob("predictions/*.npz")):
        with np.load(file, allow_pickle=False) as found:
            for name in found.files:
                arrays.setdefault(f"predictions/{name}", []).append(_bits(found[name]))
    for name, found in load_file(max(run_dir.glob("checkpoint/session-*.safetensors"))).items():
        arrays.setdefault(f"state/{name.partition('/')[0]}", []).append(_bits(found))
    for name, each in arrays.items():
        yield name, hashlib.sha256("".join(sorted(each) if name.startswith("state/") else each).encode()).hexdigest()[:16]


def _bits(array: np.ndarray) -> str:
    return hashlib.sha256(f"{array.dtype}{array.shape}".encode() + np.ascontiguousarray(array).tobytes()).hexdigest()


def differences(was: Any, now: Any, place: str = "") -> Iterator[str]:
    """A line for each value that is not what it was; what is new beside it is no difference."""
    if isinstance(was, dict) and isinstance(now, dict):
        for key, value in was.items():
            yield from differences(value, now.get(key, "nothing"), f"{place}.{key}" if place else key)
    elif isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        for number, (one, other) in enumerate(zip(was, now)):
            yield from differences(one, other, f"{place}[{number}]")
    elif was != now:
        yield f"{place}: {was} was recorded, now {now}"


def record(only: str, shared: Path) -> int:
    """Run what matches, and write it down beside what is there."""
    kept = json.loads(FILE.read_text()) if FILE.exists() else {"presets": {}}
    for name, choice in presets().items():
        if fnmatch.fnmatch(name, only):
            started = time.monotonic()
            try:
                words = short(choice)
                kept["presets"][name] = {"words": words, **outcome(words, shared)}
            except Refused as why:
                print(f"{name}: not recorded: {why}")
                continue
            print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)
    about = {"machine": machine(), "presets": dict(sorted(kept["presets"].items()))}
    FILE.write_text(re.sub(r"\n {5,}|\n {4}(?=[}\]])", " ", json.dumps(about, indent=1)) + "\n")
    return 0


def check(only: str, shared: Path) -> int:
    """Run what was recorded and matches again. Returns: 1 where something differs."""
    recording, wrong = json.loads(FILE.read_text()), 0
    if recording["machine"] != machine():
        print(f"recorded on another machine, where bits may differ: {recording['machine']}; this is {machine()}")
    matching = {name: was for name, was in recording["presets"].items() if fnmatch.fnmatch(name, only)}
    for name, was in matching.items():
        try:
            now = outcome(was["words"], shared)
            lines = list(differences({**was, **APART}, {**now, **APART}))
        except Refused as why:
            lines = [f"does not run: {why}"]
        wrong += bool(lines)
        print("\n".join(f"{name}: {line}" for line in lines) or f"{name}: equal", flush=True)
    print(f"{len(matching) - wrong} of {len(matching)} presets are bit-equal")
    return int(wrong > 0)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="*", metavar="PATTERN", help="presets, as in 'kd_*' (default: all)")
    parser.add_argument("--record", action="store_true", help="write down instead of comparing")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as shared:
        return (record if args.record else check)(args.only, Path(shared))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
