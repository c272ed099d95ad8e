"""Removing runs: only directories under `runs/`, and none that a living process has."""

from __future__ import annotations

import contextlib
import secrets
import shutil
from pathlib import Path

from hdx.errors import RunError
from hdx.registry import did_you_mean
from hdx.store.lease import Lease


def exact_run(name: str, output_dir: Path) -> Path:
    """The run directory of a full run id or a path, `<output_dir>/runs/<exp>/<name>`; a part of an id is not enough here.

    Raises: RunError for anything else: outside `runs/`, a link, no run, a folder of runs.
    """
    runs = (output_dir / "runs").resolve()
    given = Path(name)
    as_id = runs / given
    path = given.absolute() if given.is_absolute() or not as_id.exists() and given.exists() else as_id
    if ".." in given.parts or not path.parent.resolve().is_relative_to(runs) or path.parent.parent.resolve() != runs:
        raise RunError(f"run '{name}': expected a run under {runs} (exp/hash-sN), got another place; nothing was removed")
    if path.is_symlink() or path.parent.is_symlink():
        raise RunError(f"run '{name}': {path} leads through a link to another place; remove it by hand; nothing was removed")
    if not (path / "config.yaml").exists():
        known = [str(found.parent.relative_to(runs)) for found in runs.glob("*/*/config.yaml")]
        raise RunError(f"run '{name}' is not under {runs}.{did_you_mean(name, known)}  (hdx runs); nothing was removed")
    return path


def remove_run(path: Path) -> None:
    """Delete a run directory: taken first, so that nobody begins it, then renamed, so that none is ever half there.

    Raises: RunError naming the process that has the run, or what the system says.
    """
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}.old")
    try:
        with Lease(path):
            path.rename(aside)
        shutil.rmtree(aside)
    except OSError as error:
        raise RunError(f"run {path}: cannot be removed ({error.strerror})") from None
    with contextlib.suppress(OSError):  # the folder of a preset goes with its last run
        path.parent.rmdir()
