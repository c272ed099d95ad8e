"""A run directory may come from a stranger: what its files may not make hdx do."""

from __future__ import annotations

import re
from pathlib import Path

from hdx.errors import ConfigError, RunError

_GROUP = re.compile(r"[0-9a-f]{8}")
_UNFIT = re.compile(r"[/\\\x00-\x1f\x7f]")


def check_identity(exp: str, group: str, path: Path) -> None:
    """That the two words which a saved config adds to the place of its run name nothing but a folder in `runs/`.

    Raises: ConfigError.
    """
    if not exp or len(exp) > 200 or exp.startswith(".") or _UNFIT.search(exp):
        raise ConfigError(f"exp: expected the name of a preset, got {exp!r}, which is a path  (set in: {path})")
    if group and not _GROUP.fullmatch(group):
        raise ConfigError(f"group: expected eight hex digits, got {group!r}  (set in: {path})")


def refuse_links(run_dir: Path) -> None:
    """hdx writes no links, and writing through one would reach outside. Raises: RunError naming the first."""
    for path in sorted(run_dir.rglob("*")) if run_dir.is_dir() else ():
        if path.is_symlink():
            raise RunError(f"run {run_dir}: {path.relative_to(run_dir)} is a link, which hdx never writes: remove it, or the run")
