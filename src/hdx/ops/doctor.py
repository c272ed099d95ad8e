"""Which op runs in which form on which device here, and what to do where native code cannot run."""

from __future__ import annotations

import importlib
from dataclasses import dataclass

from hdx.ops import build
from hdx.ops.bench import OPS


@dataclass(frozen=True)
class Line:
    """One op on one device: whether its native form can run, and why not, with the command that mends it."""

    op: str
    device: str
    native: bool
    reason: str


def examine() -> list[Line]:
    """All native ops, each on the devices that it is written for, tried here and now."""
    from hdx.ops import dispatch

    for name in OPS:
        importlib.import_module(f"hdx.ops.{name}")
    found = [(name, device, dispatch.status(name, device)) for name, op in dispatch.OPS.items() for device in op.devices]
    return [Line(name, device, not reason, reason or "native") for name, device, reason in found]


def toolchains() -> list[tuple[str, str]]:
    """What `hdx ops build` would use: (what, path), or why there is none."""
    gcc, cuda = build.compiler(), build.nvcc()
    return [
        ("stable ABI", build.torch_obstacle() or f"torch's, of version {build.TARGET[0]}.{build.TARGET[1]} or later"),
        ("C++ compiler", gcc or "none: apt install g++, or conda install gxx"),
        ("CUDA compiler", cuda or "none: install the CUDA toolkit of torch's version"),
        ("cpu library", str(build.library("cpu"))),
        ("cuda library", str(build.library("cuda"))),
    ]
