"""Checkpoints: the state after a session (safetensors) and the state inside a gradient phase (plain tensors, weights_only)."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save
from torch import Tensor, nn

from hdx.errors import RunError
from hdx.methods._base import Method, State
from hdx.store.files import write_atomic, write_bytes

log = logging.getLogger("hdx")


def session_state(method: Method) -> dict[str, Tensor]:
    """Everything a later session needs: what changed in the body, the head, and what the method keeps."""
    parts = {"body": method.body.changed_state(), "head": method.head.state_dict(), "extra": method.extra_state()}
    parts["beside"] = method.beside.state_dict()
    return {f"{part}/{name}": value.detach().cpu().clone() for part, state in parts.items() for name, value in state.items()}


def save_session(folder: Path, session: int, method: Method) -> None:
    """Write the state after `session`; older ones are removed once the session is committed (`forget`)."""
    tensors = {name: value.contiguous() for name, value in session_state(method).items()}
    write_bytes(folder / f"session-{session:02d}.safetensors", save(tensors))


def load_session(folder: Path, session: int, method: Method, n_classes: int) -> None:
    """Put a method in the state after `session`. Raises: RunError when the file is missing, damaged or does not fit."""
    path = folder / f"session-{session:02d}.safetensors"
    try:
        _restore(load_file(path), method, n_classes)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(
            f"{path}: expected the checkpoint of session {session}, got {reason}; add --force to hdx train to redo the run"
        ) from None


def _restore(state: dict[str, Tensor], method: Method, n_classes: int) -> None:
    parts: State = {"body": {}, "head": {}, "extra": {}, "beside": {}}
    for key, value in state.items():
        part, _, name = key.partition("/")
        parts[part][name] = value
    method.rebuild(parts)
    check_fit(parts["body"], method.body.changed_state())
    check_fit(parts["beside"], method.beside.state_dict())
    method.head.restore(parts["head"], n_classes)
    method.body.load_changed(parts["body"])
    method.beside.load_state_dict(parts["beside"])
    method.load_extra(parts["extra"])


def check_fit(found: dict[str, Tensor], wanted: dict[str, Tensor]) -> None:
    """Raises: ValueError unless names and shapes are the same (copying alone would broadcast, or leave some out)."""
    shapes = {name: list(value.shape) for name, value in found.items()}
    for name, value in wanted.items():
        if shapes.get(name) != list(value.shape):
            raise ValueError(f"{name}: shape {shapes.get(name)} where {list(value.shape)} is needed")
    if unknown := sorted(set(found) - set(wanted)):
        raise ValueError(f"{unknown[0]}, which the model does not have")


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


def load_phase(path: Path, method: Method, classifier: nn.Module, n_steps: int) -> dict[str, Any] | None:
    """The state inside a phase of `n_steps` steps, or None where there is none; one that is damaged or does not fit counts as
    none, with a warning (the phase starts over)."""
    if not path.exists():
        return None
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        if not 0 < int(state["step"]) < n_steps:
            raise ValueError(f"step {state['step']} of {n_steps}")
        method.rebuild({name: state[name] for name in ("body", "classifier", "beside")})
        check_fit(state["body"], method.body.changed_state())
        check_fit(state["classifier"], classifier.state_dict())
        check_fit(state["beside"], method.beside.state_dict())
        return {name: state[name] for name in ("step", "body", "classifier", "beside", "optimizers", "scaler", "losses")}
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        log.warning("checkpoint %s is damaged (%s); this phase starts over", path, reason)
        return None
