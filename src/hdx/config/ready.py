"""What can be known without torch, and without work, of whether a run can start: asked before anything is written or deleted."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hdx.errors import ConfigError
from hdx.store.files import check_writable

Check = Callable[[dict[str, Any]], list[str]]
CHECKS: list[Check] = []


def check(data: dict[str, Any]) -> None:
    """Raises: ConfigError with a line for everything that is missing on this machine; RunError when nothing can be written."""
    if found := problems(data):
        raise ConfigError(found)
    check_writable(Path(data["output_dir"]).expanduser())


def problems(data: dict[str, Any]) -> list[str]:
    """What is missing for a run of a checked config, a line each; empty when it can start as far as this can be known."""
    return [line for function in CHECKS for line in function(data)]
