"""Carries out a method's work without gradients: step by step, checkpointed by the clock, resumable at any step."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from hdx.engine import ranks, stop
from hdx.engine.state import check_fit, save_phase
from hdx.errors import Interrupted
from hdx.memories._base import Samples
from hdx.methods._base import Method, Work
from hdx.seeds import derive

log = logging.getLogger("hdx")
REPORT_S = 0.5


def carry_out(
    work: Work,
    method: Method,
    samples: Samples,
    *,
    file: Path,
    seed: int,
    parts: tuple[int, ...],
    checkpoint_seconds: float,
    report: Callable[[dict[str, Any]], None],
) -> float | None:
    """Do `work` to its end, from the checkpoint `file` where there is one.

    Args:
        method: whose body, head and modules beside the work may change.
        samples: what the work may look at.
        seed, parts: of the streams.
        report: called with {step, steps, work, value} about twice a second.

    Returns: what the last step returned.
    Raises: Interrupted after a checkpoint, when the process was asked to stop.
    """
    step, value = _resumed(work, method, file), None
    saved = reported = time.monotonic()
    while step < work.steps:
        torch.manual_seed(derive(seed, "work", *parts, step))
        value = work.step(step, samples)
        step += 1
        now, last = time.monotonic(), step == work.steps
        leave = ranks.any_rank(stop.requested())
        if last or leave or now - reported >= REPORT_S:
            report({"step": step, "steps": work.steps, "work": work.name, "value": value})
            reported = now
        if not last and (leave or now - saved >= checkpoint_seconds):
            _save(work, method, file, step)
            saved = time.monotonic()
        if leave and not last:
            ranks.barrier()  # no rank leaves while another one saves: torchrun would end it
            raise Interrupted(f"stopped while {work.name}")
    work.finish()
    return value


def _save(work: Work, method: Method, file: Path, step: int) -> None:
    if ranks.rank() != 0:
        return
    state = {"body": method.body.changed_state(), "head": method.head.state_dict(), "beside": method.beside.state_dict()}
    save_phase(file, {**state, "step": step, "work": work.state_dict()})


def _resumed(work: Work, method: Method, file: Path) -> int:
    """The step to go on from; a checkpoint that is damaged or does not fit counts as none, with a warning."""
    if not file.exists():
        return 0
    try:
        state = torch.load(file, map_location="cpu", weights_only=True)
        if not 0 < int(state["step"]) < work.steps:
            raise ValueError(f"step {state['step']} of {work.steps}")
        method.rebuild({name: state[name] for name in ("body", "head", "beside")})
        check_fit(state["body"], method.body.changed_state())
        check_fit(state["beside"], method.beside.state_dict())
        check_fit(state["head"], method.head.state_dict())
        work.load_state_dict(state["work"])
    except Exception as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        log.warning("checkpoint %s is damaged (%s); this work starts over", file, reason)
        return 0
    method.body.load_changed(state["body"])
    method.beside.load_state_dict(state["beside"])
    method.head.load_state_dict(state["head"])
    return int(state["step"])
