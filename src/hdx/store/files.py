"""Files that are either old or new, never half: written under another name, fsynced, renamed."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from hdx.errors import RunError


def write_atomic(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Call `write(file)` on a temporary file beside `path`, fsync it and rename it over `path`.

    Raises: RunError saying why the system refuses (no permission, disk full, a file in the way).
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(6)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError) or error.errno is None:
            raise
        raise RunError(
            f"{path.parent}: cannot write {path.name} ({error.strerror}); make room there or set output_dir=…"
        ) from None


def check_writable(folder: Path) -> None:
    """Raises: RunError saying why nothing can be written in a folder, or in the one that is to hold it; nothing stays there."""
    place = folder
    while not place.exists() and place != place.parent:
        place = place.parent
    probe = place / f".{secrets.token_hex(6)}.tmp"
    try:
        probe.write_bytes(b"hdx")
    except OSError as error:
        raise RunError(f"{folder}: cannot write there ({error.strerror}); make room there or set output_dir=…") from None
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Atomically write bytes."""
    write_atomic(path, lambda file: file.write(content))


def write_json(path: Path, value: Any) -> None:
    """Atomically write plain data as JSON (nan becomes null: JSON has no nan)."""
    write_bytes(path, (json.dumps(_plain(value), indent=1) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON. Raises: RunError naming the file when it is missing or not JSON."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RunError(f"{path}: expected a file of a run, found none  (is this a run directory?)") from None
    except OSError as error:
        raise RunError(f"{path} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise RunError(f"{path}: expected JSON, got a damaged file ({error}); delete the run directory to redo the run") from None


def _plain(value: Any) -> Any:
    """nan and infinities to None, numpy scalars to numbers, all the way down."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (int, float)):
        value = value.item()
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value
