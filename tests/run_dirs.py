"""Run directories as runs leave them, without running anything."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Any

from hdx.store.files import write_bytes, write_json

DEAD = 2**22 + 1  # no process of Linux has so high a number


def config_text(exp: str, group: str, seed: int, **changes: Any) -> str:
    """A short config.yaml."""
    head, ridge, step = changes.get("head", "lda"), changes.get("ridge", 1.0), changes.get("step", 2)
    return (
        f"exp: {exp}\ngroup: {group}\nchoices:\n  dataset: digits\n  head: {head}\n"
        f"seed: {seed}\nprecision: '32'\ndataset:\n  name: digits\nhead:\n  name: lda\n  ridge: {ridge}\n"
        f"protocol:\n  name: class_incremental\n  step: {step}\n"
    )


def write_run(output_dir: Path, run_id: str, state: str = "finished", acc: float = 0.5, **more: Any) -> Path:
    """The directory of a run `exp/aaaaaaaa-s0` of two sessions, the second with accuracy `acc`.

    `more`: head, ridge, step of its config; reason, heartbeat of its status; seconds of its record.
    """
    exp, _, name = run_id.partition("/")
    group, _, seed = name.partition("-s")
    folder = output_dir / "runs" / run_id
    write_bytes(folder / "config.yaml", config_text(exp, group, int(seed), **more).encode())
    about = {"pid": DEAD, "host": socket.gethostname(), "heartbeat": more.get("heartbeat", 1_000.0)}
    if "reason" in more:
        about["reason"] = more["reason"]
    if state != "new":
        write_json(folder / "status.json", {"state": state, **about})
    if state == "finished":
        sessions = [{"acc": 1.0, "index": 0}, {"acc": acc, "index": 1}]
        metrics = {"acc_last": acc, "acc_avg_inc": (1 + acc) / 2, "gain_predictor": None}
        record = {"metrics": metrics, "sessions": sessions, "n_sessions": 2, "trainable_parameters": 7, "images_forwarded": 99}
        write_json(folder / "record.json", {**record, "seconds": {"wall": more.get("seconds", 3.0), "sessions": 2.0}})
    return folder
