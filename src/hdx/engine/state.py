"""Checkpoints: the state after a session (safetensors) and the state inside a gradient phase (plain tensors, weights_only)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor

from hdx.errors import RunError
from hdx.methods._base import Method
from hdx.store.files import write_atomic, write_bytes


def session_state(method: Method) -> dict[str, Tensor]:
    """Everything a later session needs: what changed in the body, the head, and the method's own memory."""
    parts = {"body": method.body.changed_state(), "head": method.head.state_dict(), "extra": method.extra_state()}
    return {f"{part}/{name}": value.detach().cpu().clone() for part, state in parts.items() for name, value in state.items()}


def save_session(folder: Path, session: int, method: Method) -> None:
    """Write the state after `session`; older ones are removed once the session is committed (`forget`)."""
    tensors = {name: value.contiguous() for name, value in session_state(method).items()}
    write_bytes(folder / f"session-{session:02d}.safetensors", save(tensors))


def load_session(folder: Path, session: int, method: Method, n_classes: int) -> None:
    """Put a method in the state after `session`. Raises: RunError when the file is missing or damaged."""
    path = folder / f"session-{session:02d}.safetensors"
    try:
        state = load_file(path)
    except Exception as error:
        raise RunError(
            f"{path}: expected the checkpoint of session {session}, got {error}; run again with --force to redo the run"
        ) from None
    parts: dict[str, dict[str, Tensor]] = {"body": {}, "head": {}, "extra": {}}
    for key, value in state.items():
        part, _, name = key.partition("/")
        parts[part][name] = value
    method.body.load_changed(parts["body"])
    method.head.restore(parts["head"], n_classes)
    method.load_extra(parts["extra"])


def forget(folder: Path, before: int) -> None:
    """Remove checkpoints of sessions before `before` and those inside phases."""
    for path in folder.glob("session-*.safetensors"):
        if int(path.stem.partition("-")[2]) < before:
            path.unlink(missing_ok=True)
    for path in folder.glob("phase-*.pt"):
        path.unlink(missing_ok=True)


def save_phase(path: Path, state: dict[str, Any]) -> None:
    """Atomically write the state inside a phase: tensors and numbers only."""
    write_atomic(path, lambda file: torch.save(state, file))


def load_phase(path: Path) -> dict[str, Any] | None:
    """The state inside a phase, or None where there is none; a damaged file counts as none (the phase starts over)."""
    if not path.exists():
        return None
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception:
        return None
