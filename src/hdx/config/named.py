"""Runs that a component names (`teacher.run`, `dataset.run`): found by id or directory."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hdx.errors import RunError
from hdx.store.rundir import RunDir, find_run

_RUN_NAME = re.compile(r"[0-9a-f]{8}-s\d+")


def find(name: str, data: dict[str, Any]) -> RunDir:
    """The run directory of an id or a path. Raises: RunError when none or several match."""
    return find_run(name, Path(data["output_dir"]))


def identity(name: str, data: dict[str, Any]) -> str:
    """What a run is, `<hash>-s<seed>`, however it is named; the name as given where there is no such run."""
    try:
        path = find(name, data).path
    except RunError:
        return Path(name).name
    return path.name if _RUN_NAME.fullmatch(path.name) else name
