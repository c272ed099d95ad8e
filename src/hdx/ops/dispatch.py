"""Which form of an op runs: the native one where it is built and valid, else the composite one.

Each op has three forms of one signature. `reference` is clear torch and takes float64; `composite` is fast torch; `native` is
C++ or CUDA C++ (`hdx.ops.build`). An op declares itself on import (`declare`) and asks `choose` on every call.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor

from hdx.errors import OpsUnavailable
from hdx.ops import build

Backend = Literal["auto", "native", "composite", "reference"]
Form = Literal["native", "composite", "reference"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)

log = logging.getLogger("hdx")


@dataclass(frozen=True)
class Op:
    """What an op's native form takes.

    Attributes:
        dtypes: of its floating-point arguments.
        devices: for which there are sources.
    """

    dtypes: tuple[torch.dtype, ...]
    devices: tuple[str, ...]


OPS: dict[str, Op] = {}
_missing: dict[str, str] = {}  # device -> why its library is not loaded, "" where it is; a device not tried yet is absent
_backend: list[Backend] = ["auto"]
_said: set[str] = set()


def declare(
    name: str, schema: str, *, dtypes: Sequence[torch.dtype] = (torch.float32,), devices: Sequence[str] = ("cpu", "cuda")
) -> None:
    """Define the op `hdx::<name>` with its schema and load the libraries that are built; once, where an op's file is imported.

    The schema stands in Python so that the CPU and the CUDA library, of which either may be absent, need not agree on who
    defines it.
    """
    torch.library.define(f"hdx::{name}", schema)
    OPS[name] = Op(tuple(dtypes), tuple(devices))
    for device in devices:
        if device not in _missing:
            load(device)


def load(device: str) -> str:
    """Load the library of a device where it is built and not loaded yet. Returns: why not, or ""."""
    if _missing.get(device) != "":
        _missing[device] = _load(device)
    return _missing[device]


def _load(device: str) -> str:
    assert device in ("cpu", "cuda")
    if device == "cuda" and not torch.cuda.is_available():
        return "torch finds no CUDA device"
    if reason := build.torch_obstacle():
        return reason
    library = build.library(device)  # type: ignore[arg-type]
    if not library.is_file():
        return f"not built  (run: {build.COMMAND[device]})"
    try:
        torch.ops.load_library(str(library))
    except OSError as error:
        return f"{library} does not load: {' '.join(str(error).split())}  (delete it and run: {build.COMMAND[device]})"
    return ""


def set_backend(backend: Backend) -> None:
    """The form that ops take from now on in this process.

    `auto` takes the native form where it is built and valid and says once why not; it never compiles. `native` raises
    OpsUnavailable instead. `composite` and `reference` ask for those. Raises: ValueError for another name.
    """
    if backend not in BACKENDS:
        raise ValueError(f"Expected a backend in {', '.join(BACKENDS)}, got {backend!r}")
    _backend[0] = backend


@contextmanager
def using(backend: Backend) -> Iterator[None]:
    """`set_backend` for a while."""
    before = _backend[0]
    set_backend(backend)
    try:
        yield
    finally:
        set_backend(before)


def choose(name: str, *tensors: Tensor, refused: str = "") -> Form:
    """The form in which op `name` takes these tensors.

    Args:
        name: of a declared op.
        tensors: its tensor arguments; floating-point ones must have a dtype that the native form takes.
        refused: why the native form does not take these arguments for a reason of the op's own, "" where it does.
    Raises: OpsUnavailable where the native form is demanded and cannot run.
    """
    backend = _backend[0]
    if backend == "composite" or backend == "reference":
        return backend
    reason = refused or why_not(name, *tensors)
    if not reason:
        return "native"
    if backend == "native":
        raise OpsUnavailable(f"op {name} has no native form for {_kind(tensors)}: {reason}  (or set ops.backend=auto)")
    if not torch.compiler.is_compiling():
        _say(f"op {name} runs in torch for {_kind(tensors)}: {reason}")
    return "composite"


def why_not(name: str, *tensors: Tensor) -> str:
    """Why the native form does not take these tensors; "" where it does."""
    op, device = OPS[name], tensors[0].device.type
    if device not in op.devices:
        return f"there is one for {' and '.join(op.devices)}"
    if _missing[device]:
        return f"the {device} library is {_missing[device]}" if _missing[device].startswith("not") else _missing[device]
    for tensor in tensors:
        if tensor.device.type != device:
            return f"tensors lie on {device} and {tensor.device.type}"
        if tensor.is_floating_point() and tensor.dtype not in op.dtypes:
            return f"it takes {', '.join(str(dtype)[6:] for dtype in op.dtypes)}"
    return ""


def status(name: str, device: str) -> str:
    """Why op `name` has no native form on a device here; "" where it has one."""
    if device not in OPS[name].devices:
        return f"written for {' and '.join(OPS[name].devices)}"
    if _missing[device]:
        return _missing[device]
    built = torch._C._dispatch_has_kernel_for_dispatch_key(f"hdx::{name}", device.upper())
    return "" if built else f"not in the library  (run: {build.COMMAND[device]})"


def _kind(tensors: Sequence[Tensor]) -> str:
    dtypes = {str(tensor.dtype)[6:]: None for tensor in tensors if tensor.is_floating_point()}
    return f"{tensors[0].device.type} {'/'.join(dtypes)}"


def _say(line: str) -> None:
    if line not in _said:
        _said.add(line)
        log.debug(line)
