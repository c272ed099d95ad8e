"""The run that is another run's teacher: which one it is, by its config alone; no torch."""

from __future__ import annotations

import re
import shlex
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx.errors import ConfigError, RunError
from hdx.store.rundir import RunDir, find_run

if TYPE_CHECKING:
    from hdx.config.config import Config

_RUN_NAME = re.compile(r"[0-9a-f]{8}-s\d+")
_ELSEWHERE = ("data_dir", "output_dir")  # of the student
_open: list[tuple[str, ...]] = []  # what is being composed: a teacher that learns from itself would have no end


def teacher_config(data: dict[str, Any]) -> Config | None:
    """The config of the run that `teacher.overrides` names, done where and with what its student is; None where there is none.

    Raises: ConfigError, each line with `teacher.overrides` in front.
    """
    from hdx.config.identity import unhashed

    words = data["teacher"].get("overrides") if data.get("teacher", {}).get("name") == "run" else None
    if not words:
        return None
    return _composed(tuple(words)).replace(**{key: data[key] for key in unhashed() if key != "seed" and key in data})


@lru_cache(maxsize=64)
def _composed(words: tuple[str, ...]) -> Config:
    from hdx.config.validate import load

    if words in _open:
        raise ConfigError(f"teacher.overrides={_list(words)} names a run whose teacher is itself: name another one")
    if given := [word for word in words if word.lstrip("+").partition("=")[0] in _ELSEWHERE]:
        raise ConfigError(f"teacher.overrides: '{given[0]}' cannot be set there; a teacher lies where its students do")
    _open.append(words)
    try:
        return load(words)
    except ConfigError as error:
        raise ConfigError([f"teacher.overrides={_list(words)}: {line}" for line in error.problems]) from None
    finally:
        _open.pop()


def _list(words: tuple[str, ...]) -> str:
    return f"[{','.join(words)}]"


def identity(data: dict[str, Any], group: str = "teacher") -> str:
    """What the run is that a component names, `<hash>-s<seed>`, however it does; the name as given where there is no such run."""
    if group == "teacher" and (config := teacher_config(data)) is not None:
        return f"{config.group_hash}-s{config['seed']}"
    named = str(data[group].get("run"))
    try:
        path = find(named, data).path
    except RunError:
        return Path(named).name
    return path.name if _RUN_NAME.fullmatch(path.name) else named


def run_dir(data: dict[str, Any], group: str = "teacher") -> RunDir | None:
    """The directory of the run that a component names, finished or not; None where it names none. Raises: as `find`."""
    from hdx.config.before import as_before

    if group == "teacher" and (config := teacher_config(data)) is not None:
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


def find(name: str, data: dict[str, Any]) -> RunDir:
    """The run directory of an id or a path. Raises: RunError when none or several match."""
    return find_run(name, Path(data["output_dir"]))


def command(data: dict[str, Any]) -> str:
    """The command that makes the teacher run which `teacher.overrides` names."""
    places = [f"{key}={data[key]}" for key in _ELSEWHERE if data.get(key) not in (None, "outputs")]
    return " ".join(["hdx", "train", *(shlex.quote(word) for word in (*data["teacher"]["overrides"], *places))])
