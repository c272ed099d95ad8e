"""One run directory as one flat row: what the index keeps and every listing shows. No torch."""

from __future__ import annotations

import json
import re
from functools import lru_cache
from pathlib import Path
from typing import Any

from hdx.store import alone

GROUPS = (
    "dataset",
    "backbone",
    "pool",
    "adapter",
    "head",
    "method",
    "memory",
    "protocol",
    "teacher",
    "loss",
    "trainer",
    "augment",
)
COUNTS = ("trainable_parameters", "head_parameters", "images_forwarded", "images_trained", "classes", "image_size", "ranks")
MAX_BYTES = 64 * 2**20  # a stranger's file must not fill the memory
_NAME = re.compile(r"([0-9a-f]{8})-s(\d+)")
_SEED = re.compile(r"^seed: (\d+)$", re.MULTILINE)


_NOTHING: dict[str, Any] = dict.fromkeys(("reason", "host", "pid", "finished", "started"))
_NOTHING |= {"state": "failed", "progress": {}}


class Unreadable(Exception):
    """A file of a run that is damaged; the text says which and why."""


def read_row(run_dir: Path) -> dict[str, Any]:
    """The row of a run directory `…/<exp>/<name>`, by the keys that `hdx.store.index.Index.runs` documents.

    A damaged file makes the run failed, with the reason; nothing is raised. Whether a running process lives is not looked at.
    """
    exp, name = run_dir.parts[-2:]
    parts = _NAME.fullmatch(name)
    row: dict[str, Any] = {
        "run_id": f"{exp}/{name}",
        "dir": str(run_dir),
        "exp": exp,
        "group": parts[1] if parts else name,
        "seed": int(parts[2]) if parts else None,
        "created": _mtime(run_dir / "config.yaml"),
    }
    problems: list[str] = []
    row |= _guarded(problems, _config, run_dir, {"options": {}, "exchanged": None, **dict.fromkeys(GROUPS)})
    row |= _guarded(problems, _outcome, run_dir, _NOTHING | {"updated": row["created"]})
    record = _guarded(problems, _read_record, run_dir, {})
    row |= _guarded(problems, _numbers, record, _numbers({}))
    row["sessions_done"] = len(row["session_accuracies"]) or _sessions_done(run_dir)
    if problems:
        row |= {"state": "failed", "reason": f"{problems[0]}; hdx rm {row['run_id']} to redo it"}
    return row


def _guarded(problems: list[str], read: Any, source: Any, fallback: dict[str, Any]) -> dict[str, Any]:
    try:
        found: dict[str, Any] = read(source)
        return found
    except Unreadable as error:
        problems.append(str(error))
    except (KeyError, TypeError, ValueError, AttributeError):
        problems.append("record.json does not hold what a run record holds")
    return fallback


def _config(run_dir: Path) -> dict[str, Any]:
    """The chosen names and every option of config.yaml."""
    text = _text(run_dir / "config.yaml")
    if text is None:
        raise Unreadable("config.yaml is missing")
    seed = _SEED.search(text)
    try:  # the seeds of a group differ in one line: the others of a group need no parsing
        content = _parsed(_SEED.sub("", text, count=1))
    except RecursionError:
        raise Unreadable("config.yaml is nested too deeply") from None
    options = dict(content["options"])
    if seed:
        options["seed"] = int(seed[1])
    return {**dict.fromkeys(GROUPS), **content["choices"], "exchanged": content["exchanged"], "options": options}


@lru_cache(maxsize=256)
def _parsed(text: str) -> dict[str, Any]:
    import yaml

    if re.search(r"[:\-\[,]\s*[&*]\w", text):  # hdx writes none, and they can make a small file grow without end
        raise Unreadable("config.yaml uses YAML anchors, which a config of a run does not have")
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except yaml.YAMLError:
        raise Unreadable("config.yaml is no plain YAML") from None
    if not isinstance(data, dict):
        raise Unreadable("config.yaml holds no mapping")
    chosen, other = data.pop("choices", None), data.pop("exchanged", None)
    for key in ("exp", "group", "contents"):  # the place of the directory says them, and a file can say anything
        data.pop(key, None)
    choices = {group: (chosen or {}).get(group) or (data.get(group) or {}).get("name") for group in GROUPS}
    mark = ", ".join(f"{group} (not {name})" for group, name in other.items()) if isinstance(other, dict) else None
    return {"choices": choices, "exchanged": mark or None, "options": dict(flatten(data))}


def flatten(node: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """`(dotted key, value)` of the leaves; lists are leaves."""
    found: list[tuple[str, Any]] = []
    for key, value in node.items():
        found += flatten(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [(f"{prefix}{key}", value)]
    return found


def _outcome(run_dir: Path) -> dict[str, Any]:
    """State, reason and times of status.json and record.json; where they disagree the record is right."""
    status = _json(run_dir / "status.json") or {"state": "new"}
    finished = _mtime(run_dir / "record.json")
    beat = status.get("heartbeat")
    updated = finished or (float(beat) if beat else _mtime(run_dir / "config.yaml"))
    progress = {key: status[key] for key in ("session", "sessions", "epoch", "epochs", "step", "steps") if key in status}
    return {
        "state": "finished" if finished else str(status.get("state", "new")),
        "reason": None if finished or status.get("reason") is None else " ".join(str(status["reason"]).split()),
        "host": status.get("host"),
        "pid": status.get("pid"),
        "finished": finished,
        "updated": updated,
        "started": status.get("started", beat),
        "progress": progress,
    }


def _read_record(run_dir: Path) -> dict[str, Any]:
    return _json(run_dir / "record.json") or {}


def _numbers(record: dict[str, Any]) -> dict[str, Any]:
    """What was measured; None and empty where there is no record yet."""
    sessions = record.get("sessions", [])
    return {
        "metrics": {str(name): value for name, value in record.get("metrics", {}).items()},
        "session_accuracies": [session["acc"] for session in sessions],
        "n_sessions": record.get("n_sessions"),
        "seconds": alone.seconds(record) if record else None,
        **{f"{name}_alone": value for name, value in alone.alone(record).items()},
        "shares": alone.shares(record),
        "peak_memory_mb": record.get("peak_memory_mb"),
        "device": record.get("device"),
        "precision": record.get("precision"),
        **{name: record.get(name) for name in COUNTS},
    }


def _sessions_done(run_dir: Path) -> int:
    try:
        return sum(path.suffix == ".json" and not path.name.startswith(".") for path in (run_dir / "sessions").iterdir())
    except OSError:
        return 0


def _mtime(path: Path) -> float | None:
    try:
        return path.stat().st_mtime
    except OSError:
        return None


def _json(path: Path) -> dict[str, Any] | None:
    text = _text(path)
    if text is None:
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Unreadable(f"{path.name} is damaged") from None
    if not isinstance(value, dict):
        raise Unreadable(f"{path.name} holds no mapping")
    return value


def _text(path: Path) -> str | None:
    """A file's text, None where there is none."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise Unreadable(f"{path.name} is larger than {MAX_BYTES // 2**20} MB")
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise Unreadable(f"{path.name} cannot be read ({getattr(error, 'strerror', None) or 'not text'})") from None
