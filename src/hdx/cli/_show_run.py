"""`hdx show run=ID`: what one run is, came to, and left behind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from hdx.cli import _runs

FOLDERS = ("data_dir", "output_dir")


def describe(name: str, output_dir: Path, folders: list[Path]) -> dict[str, Any]:
    """The row of a run with `differences` (to the packaged defaults), `sessions`, `machine` and `files`."""
    from hdx.errors import RunError
    from hdx.store.files import read_json
    from hdx.store.index import Index
    from hdx.store.rundir import RunDir, find_run

    path = find_run(name, output_dir).path
    if path.parents[1].name == "runs":
        index = Index(path.parents[2]).refresh()
        row = next((row for row in index.runs() if row["dir"] == str(path)), None)
    else:
        row = None
    if row is None:
        raise RunError(f"run '{name}': expected a directory OUTPUT_DIR/runs/exp/hash-sN, got {path}")
    sessions: list[dict[str, Any]] = []
    machine = None
    with contextlib.suppress(RunError):  # not finished, or damaged, which the row's reason tells
        sessions = RunDir(path).session_records()
        machine = read_json(path / "meta.json")
    kept = ("index", "classes_seen", "n_train", "n_test", "acc", "nll", "ece", "loss", "seconds")
    return {
        **row,
        "differences": differences(row, folders),
        "sessions": [{key: session.get(key) for key in kept} for session in sessions],
        "machine": machine,
        "files": _files(path),
    }


def differences(row: dict[str, Any], folders: list[Path]) -> dict[str, Any]:
    """Dotted key -> value where a config is not hdx's default: chosen configs, then options that differ from their file's."""
    from hdx.config import files, paths
    from hdx.store.rows import GROUPS

    home = paths.packaged()
    parts = files.read_plain(home / "config.yaml")["defaults"]
    usual = {key: name for part in parts if isinstance(part, dict) for key, name in part.items()}
    found = {group: row[group] for group in GROUPS if row[group] and row[group] != usual.get(group)}
    defaults = dict(files.read_plain(home / "run.yaml"))
    for group in (*GROUPS, "ops", "tracker", "launcher"):
        name = row.get(group) or row["options"].get(f"{group}.name")
        file = files.path(group, str(name), folders) if name else None
        content = files.read_plain(file) if file else {}
        defaults |= {f"{group}.{key}": value for key, value in content.items()}
    for key, value in row["options"].items():
        if key not in FOLDERS and not key.endswith(".name") and (key not in defaults or defaults[key] != value):
            found[key] = value
    return found


def _files(path: Path) -> dict[str, int]:
    """Bytes of each file and folder of a run, without what is hidden."""
    sizes = {}
    for child in sorted(path.iterdir()):
        if not child.name.startswith("."):
            inside = [child] if child.is_file() else [file for file in child.rglob("*") if file.is_file()]
            sizes[child.name + ("" if child.is_file() else "/")] = sum(file.stat().st_size for file in inside)
    return sizes


def lines(shown: dict[str, Any]) -> list[str]:
    """A described run as text."""
    names = " ".join(
        f"{group} {shown[group] or '-'}" for group in ("dataset", "backbone", "adapter", "head", "method", "protocol")
    )
    text = [f"run {shown['run_id']}: {shown['state']}, {_runs.duration(shown['age'])} ago", names]
    if shown["exchanged"]:
        text.append(f"not what the preset {shown['exp']} says: {shown['exchanged']}")
    if shown["reason"]:
        text.append(f"reason: {shown['reason']}")
    text += ["", "config, where it is not the default"]
    text += [f"  {key}={_value(value)}" for key, value in shown["differences"].items()] or ["  (all defaults)"]
    if shown["sessions"]:
        text += ["", *_sessions(shown["sessions"])]
    if shown["metrics"]:
        pairs = [[name, _runs.metric_text(name, value)] for name, value in shown["metrics"].items() if value is not None]
        text += ["", *_runs.table(["metric", "value"], pairs, right=(1,))]
    text += ["", *_costs(shown), "files  " + "  ".join(f"{name} {_size(size)}" for name, size in shown["files"].items())]
    return [_runs.clean(line) for line in [*text, f"dir    {shown['dir']}"]]


def _sessions(sessions: list[dict[str, Any]]) -> list[str]:
    rows = [
        [str(s["index"] + 1), str(s["classes_seen"]), str(s["n_train"]), str(s["n_test"]), _runs.percent(s["acc"]), _seconds(s)]
        for s in sessions
    ]
    return _runs.table(["session", "classes", "train", "test", "accuracy", "seconds"], rows, right=range(6))


def _seconds(session: dict[str, Any]) -> str:
    return f"{session['seconds']['total']:.1f}" if session["seconds"] else "-"


def _costs(shown: dict[str, Any]) -> list[str]:
    text = []
    if shown["seconds"] is not None:
        counts = [f"{shown['seconds']:.1f} s"]
        for name in ("trainable_parameters", "images_forwarded", "images_trained"):
            counts += [f"{name.replace('_', ' ')} {shown[name]:,}"] if shown[name] is not None else []
        text.append("cost   " + "   ".join(counts))
    machine = shown["machine"]
    if machine:
        versions = machine.get("versions") or {}
        git = machine.get("git") or {}
        commit = f", commit {str(git.get('sha'))[:8]}{' with changes' if git.get('dirty') else ''}" if git else ""
        where = f"{machine.get('host')}, {machine.get('cpus')} cpus, {machine.get('platform')}"
        text.append(f"made   on {where}, hdx {versions.get('hdx')}, torch {versions.get('torch')}{commit}")
    return text


def _value(value: Any) -> str:
    import json

    return value if isinstance(value, str) else json.dumps(value)


def _size(size: int) -> str:
    return f"{size} B" if size < 1000 else f"{size / 1e3:.1f} kB" if size < 1e6 else f"{size / 1e6:.1f} MB"
