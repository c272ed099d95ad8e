"""The run that teaches another: where it is, and what it left; no torch."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from hdx.config.before import as_before
from hdx.config.named import find
from hdx.config.validate import ELSEWHERE, teacher_of
from hdx.errors import RunError
from hdx.store.rundir import RunDir


def run_dir(data: dict[str, Any], group: str = "teacher") -> RunDir | None:
    """The directory of the run that a component names, finished or not; None where it names none. Raises: as `find`."""
    if group == "teacher" and (config := teacher_of(data)) is not None:
        return RunDir.of(data["output_dir"], as_before(config).run_id)
    named = data.get(group, {}).get("run")
    return None if named is None else find(str(named), data)


def left(data: dict[str, Any], group: str) -> list[Path]:
    """The folders that the run which a component names left for others, where it is finished."""
    try:
        found = run_dir(data, group)
    except RunError:
        return []
    if found is None or not found.finished:
        return []
    return [folder for folder in (found.checkpoints, found.path / "artefact") if folder.is_dir()]


def unfinished(data: dict[str, Any]) -> str | None:
    """The line that says why the run that is to teach cannot yet; None where it can, or where the teacher is no run."""
    if data.get("teacher", {}).get("name") != "run":
        return None
    try:
        found = run_dir(data) or find(str(data["teacher"].get("run")), data)
    except RunError as error:
        return f"teacher.run: {error}"
    if found.finished:
        return None
    go_on = command(data) if data["teacher"].get("run") is None else f"hdx resume {found.path}"
    state, label = found.status()["state"], "/".join(found.path.parts[-2:])
    return f"teacher {label} is not finished ({'not begun' if state == 'new' else state}): make it first:  {go_on}"


def command(data: dict[str, Any]) -> str:
    """The command that makes the teacher run which `teacher.overrides` names."""
    places = [f"{key}={data[key]}" for key in ELSEWHERE if data.get(key) not in (None, "outputs")]
    return " ".join(["hdx", "train", *(shlex.quote(word) for word in (*data["teacher"]["overrides"], *places))])
