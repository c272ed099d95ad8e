"""What a run is made of, built and checked before the run touches anything on disk."""

from __future__ import annotations

import copy
import time
from typing import Any

import torch

from hdx import registry
from hdx.config.ready import check
from hdx.engine.blame import blaming, probe
from hdx.engine.build import Assembly, assemble, check_devices, forget_datasets
from hdx.engine.episodes import check_parts
from hdx.engine.loop import known_labels
from hdx.engine.teacher import build_teacher


def ready(data: dict[str, Any], device: str | None = None) -> Assembly:
    """All parts of a run but the adapter, which is only tried on: it comes after the unadapted body was looked at.

    Args:
        data: a checked config.
        device: type of the device that ops are chosen for; None takes that of the parts.

    Raises: the HdxError of whatever is not there, does not fit the data, or does not fit another part.
    """
    with blaming():
        return _built(data, device)


def _built(data: dict[str, Any], device: str | None) -> Assembly:
    started = time.monotonic()
    check(data)
    if data["threads"]:
        torch.set_num_threads(data["threads"])
    assembly = assemble(data, build_teacher)
    registry.build("ops", data["ops"]).apply(device or assembly.device.type)
    assembly.method.check(known_labels(assembly.dataset, assembly.sessions), assembly.sessions)
    probe(assembly.method.head, data["head"], assembly.protocol.episodic)
    if assembly.protocol.episodic:
        check_parts(data, assembly)
    if data["adapter"]["name"] != "none":
        copy.deepcopy(assembly.method.body).attach(registry.build("adapter", data["adapter"]))
    assembly.seconds = time.monotonic() - started
    return assembly


def rehearse(data: dict[str, Any]) -> None:
    """`ready` for a run whose ranks build their own parts: on the CPU, and nothing of it is kept. Raises: as `ready`."""
    device = check_devices(data)
    ready({**data, "accelerator": "cpu", "devices": 1, "nodes": 1}, device)
    forget_datasets()
