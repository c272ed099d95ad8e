"""`hdx train … --dry-run`: what would be done, from where, what is there already, and how long it may take. No torch."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx.cli import _runs

if TYPE_CHECKING:
    from hdx.config.config import Config
    from hdx.store.rundir import RunDir

MOST_LOOKED_AT = 200  # runs whose configs are read to find those of the same body, the newest first


def foresee(config: Config, run_dir: RunDir, folders: list[Path], *, force: bool, retry_failed: bool) -> dict[str, Any]:
    """What `hdx train` would do.

    Returns: `{run_id, run_dir, state, does, differences, sessions, sessions_done, inside, shares, seconds, seconds_from}`; `does`
        is one of print, begin, go on, start over; `seconds` and `sessions` are None where nothing like it was measured.

    Raises: RunError where it would be refused: another process has the run, or it failed before.
    """
    from hdx.engine.launch import refuse
    from hdx.store.sweeps import state_of

    state = state_of(run_dir)
    if state != "finished" or force:
        refuse(config, run_dir, force=force, retry_failed=retry_failed)
    done = 0 if force else len(run_dir.session_records())
    rows = [row for row in _runs.refreshed(Path(config["output_dir"])).runs() if row["run_id"] != config.run_id]
    alike = _of_body(config, rows)
    seconds, measured = _time(config, rows, alike)
    counted = [row["n_sessions"] for row in (*_group(config, rows), *_same_protocol(config, alike)) if row["n_sessions"]]
    goes_on = state != "new" and not force
    return {
        "run_id": config.run_id,
        "run_dir": str(run_dir.path),
        "state": state,
        "does": "start over" if force and state != "new" else "print" if state == "finished" else "go on" if goes_on else "begin",
        "differences": _differences(config, folders),
        "sessions": counted[0] if counted else None,
        "sessions_done": done,
        "inside": goes_on and any(not file.name.startswith("session-") for file in run_dir.checkpoints.glob("*")),
        "shares": _shared(config, alike),
        "seconds": seconds,
        "seconds_from": measured,
    }


def lines(found: dict[str, Any]) -> list[str]:
    """What was foreseen as text."""
    text = [f"run {found['run_id']}: {_what(found)}", *_sessions(found)]
    text += ["config, where it is not the default"]
    text += [f"  {key}={_value(value)}" for key, value in found["differences"].items()] or ["  (all defaults)"]
    if found["does"] != "print":
        text += [f"shares  {line}" for line in found["shares"]] or ["shares  nothing that is on disk yet"]
        text += [f"time    {_estimate(found)}"]
    return [_runs.clean(line) for line in [*text, f"dir     {found['run_dir']}"]]


def _what(found: dict[str, Any]) -> str:
    if found["does"] == "print":
        return f"finished; hdx train prints its record, {found['run_dir']}/record.json  (--force runs it again)"
    if found["does"] == "start over":
        return f"{found['state']}; --force starts it over and forgets its results"
    if found["does"] == "begin":
        return "not begun; hdx train begins it"
    total = f" of {found['sessions']}" if found["sessions"] else ""
    place = f"session {found['sessions_done'] + 1}{total}"
    return f"{found['state']}; hdx train goes on {'from the checkpoint inside ' if found['inside'] else 'with '}{place}"


def _sessions(found: dict[str, Any]) -> list[str]:
    if found["does"] == "print" or not found["sessions"]:
        return []
    return [f"sessions {found['sessions']}, {found['sessions_done']} finished"]


def _estimate(found: dict[str, Any]) -> str:
    if found["seconds"] is None:
        return "unknown: no run of this group or this body is finished, so that none was measured"
    whole = f"about {_runs.duration(found['seconds'])}, {found['seconds_from']}"
    return whole if not found["sessions_done"] else f"{whole}; less what is done already"


def _value(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _differences(config: Config, folders: list[Path]) -> dict[str, Any]:
    from hdx.cli._show_run import differences
    from hdx.config.inert import flatten

    return differences({**config.choices, "options": dict(flatten(config.data))}, folders)


def _group(config: Config, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs of the same config with other seeds."""
    return [row for row in rows if row["group"] == config.group_hash and row["exp"] == config.exp]


def _of_body(config: Config, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Finished runs that use the same states of the same body, the newest first."""
    from hdx.config.identity import body_key
    from hdx.config.validate import load_saved
    from hdx.errors import HdxError

    wanted, found = body_key(config.data, config.taught), []
    parts = ("dataset", "backbone", "adapter", "method")
    near = [row for row in rows if row["state"] == "finished" and all(row[part] == config[part]["name"] for part in parts)]
    for row in sorted(near, key=lambda row: -(row["updated"] or 0.0))[:MOST_LOOKED_AT]:
        try:
            saved = load_saved(Path(row["dir"]) / "config.yaml")
            if body_key({**saved.data, "output_dir": config["output_dir"]}, saved.taught) == wanted:
                found.append(row)
        except HdxError:  # damaged, or of a component that is gone
            continue
    return found


def _same_protocol(config: Config, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of `rows` whose data arrives and is scored in the same way."""
    wanted = config["protocol"]
    return [row for row in rows if all(row["options"].get(f"protocol.{key}", value) == value for key, value in wanted.items())]


def _time(config: Config, rows: Sequence[dict[str, Any]], alike: Sequence[dict[str, Any]]) -> tuple[float | None, str]:
    """Seconds of the nearest runs that are finished, and which these are."""
    near = _same_protocol(config, alike)
    kinds = (
        (_group(config, rows), "other seeds of this config"),
        ([row for row in near if row["head"] == config["head"]["name"]], "runs of this body, head and protocol"),
        (near, "runs of this body and protocol"),
        (alike, "runs of this body"),
    )
    for kind, what in kinds:
        seconds = [row["seconds"] for row in kind if row["state"] == "finished" and row["seconds"] is not None]
        if seconds:
            return statistics.median(seconds), f"the median of {len(seconds)} {what}" if len(
                seconds
            ) > 1 else f"measured once, of {what}"
    return None, ""


def _shared(config: Config, alike: Sequence[dict[str, Any]]) -> list[str]:
    """What other runs left on disk that this one takes, as far as that can be told without computing what names it."""
    from hdx.config.identity import body_shared, body_stays

    if not alike or not body_shared(config.data):
        return []
    home, ids = Path(config["output_dir"]), [row["run_id"] for row in alike]
    used = f"run {ids[0]}" if len(ids) == 1 else f"{len(ids)} runs, the last of them {ids[0]}"
    found = [f"features that {used} extracted"] if any((home / "bank").glob("*")) else []
    if not body_stays(config.data) and (trainer := _trained_by(home / "bodies", ids)):
        found.insert(0, f"the body that run {trainer} trained")
    return found


def _trained_by(folder: Path, ids: Sequence[str]) -> str | None:
    """The run among `ids` that trained a body which is still there, by the header of its file."""
    for file in sorted(folder.glob("*.safetensors")):
        try:
            with file.open("rb") as stream:
                header = json.loads(stream.read(int.from_bytes(stream.read(8), "little") & 0xFFFFFFF))
            if (run := header.get("__metadata__", {}).get("run")) in ids:
                return str(run)
        except (OSError, ValueError, AttributeError):  # damaged; the run itself warns of it
            continue
    return None
