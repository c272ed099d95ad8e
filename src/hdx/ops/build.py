"""Compiles the packaged C++ and CUDA sources against PyTorch's stable ABI, and says where the result lies.

A library lies in a folder keyed by a digest of its sources and flags: a new version of hdx never finds the old binary. The
stable ABI ties it to no minor version of PyTorch and to no version of Python. Nothing here imports torch or runs by itself.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Literal

from hdx.errors import HdxError

Device = Literal["cpu", "cuda"]

SOURCES = Path(__file__).parent / "csrc"
TARGET = (2, 11)  # the oldest torch whose stable ABI has all that the sources call
COMMAND = {"cpu": "hdx ops build", "cuda": "hdx ops build --cuda"}

COMMON = ("-std=c++17", "-O3", f"-DTORCH_TARGET_VERSION=0x{TARGET[0]:02x}{TARGET[1]:02x}000000000000ULL")
CPU = ("-fPIC", "-fvisibility=hidden", "-fopenmp-simd", "-fno-math-errno", "-fno-trapping-math", "-fno-finite-math-only", "-Wall")
CUDA = ("-DUSE_CUDA", "-Xcompiler=-fPIC,-fvisibility=hidden", "-Xptxas=-v", "--threads=0")
ARCHITECTURES = ("80", "90a", "120")


class BuildError(HdxError):
    """The sources could not be compiled."""


def library(device: Device) -> Path:
    """Where the library for these sources lies, built or not: under $HDX_OPS_DIR, else under the user's cache folder."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    root = Path(os.environ.get("HDX_OPS_DIR") or f"{cache}/hdx/ops").expanduser()
    return root / _digest(device) / f"hdx_{device}.so"


def build(device: Device, architectures: tuple[str, ...] = ARCHITECTURES) -> tuple[Path, str]:
    """Compile, unless it is done already. Returns: the library, and what the compilers said.

    Several processes may build at once: each builds for itself, and the last one's library stays.

    Raises: BuildError naming what is missing, or with the compiler's first error.
    """
    goal = library(device)
    said = goal.with_suffix(".log")
    if goal.is_file() and said.is_file():
        return goal, said.read_text(encoding="utf-8", errors="replace")
    if reason := obstacle(device):
        raise BuildError(f"the {device} ops cannot be compiled here: {reason}")
    goal.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=goal.parent) as scratch:
        made, text = _compile(device, Path(scratch), architectures)
        (log := Path(scratch) / "log").write_text(text, encoding="utf-8")
        log.replace(said)
        made.replace(goal)
    return goal, text


def obstacle(device: Device) -> str:
    """Why the library cannot be compiled here, with what to do about it; "" where it can."""
    if reason := torch_obstacle():
        return reason
    if not (torch_root() / "include/torch/csrc/stable/library.h").is_file():
        return f"torch {metadata.version('torch')} has no headers of the stable ABI under {torch_root()}/include"
    if device == "cuda" and nvcc() is None:
        return "no nvcc in $CUDA_HOME/bin or on the path  (install the CUDA toolkit of torch's version)"
    if compiler() is None:
        return "no C++ compiler: looked for $CXX, g++, clang++, c++  (apt install g++, or conda install gxx)"
    return ""


def torch_obstacle() -> str:
    """Why the installed torch can neither build nor load the libraries; "" where it can."""
    version = metadata.version("torch")
    if tuple(int(part) for part in re.findall(r"\d+", version)[:2]) < TARGET:
        return f"torch {version} is older than {TARGET[0]}.{TARGET[1]}  (pip install 'torch>={TARGET[0]}.{TARGET[1]}')"
    return ""


def torch_root() -> Path:
    """The folder of the torch package, found without importing it."""
    spec = importlib.util.find_spec("torch")
    assert spec is not None and spec.origin is not None
    return Path(spec.origin).parent


def compiler() -> str | None:
    """Path of the C++ compiler: $CXX, else the first of g++, clang++ and c++ on the path."""
    return next(
        (found for name in (os.environ.get("CXX"), "g++", "clang++", "c++") if name and (found := shutil.which(name))), None
    )


def nvcc() -> str | None:
    """Path of the CUDA compiler: that of $CUDA_HOME, else of the path."""
    home = os.environ.get("CUDA_HOME")
    return (shutil.which(f"{home}/bin/nvcc") if home else None) or shutil.which("nvcc")


def sources(device: Device) -> list[Path]:
    """The files that are compiled."""
    return sorted(path for path in (SOURCES / device).glob("*") if path.suffix in (".cpp", ".cu"))


def _digest(device: Device) -> str:
    digest = hashlib.sha256(repr((COMMON, CPU, CUDA, platform.system(), platform.machine())).encode())
    for path in sorted([*SOURCES.glob("*.h"), *(SOURCES / device).glob("*.h"), *sources(device)]):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _compile(device: Device, folder: Path, architectures: tuple[str, ...]) -> tuple[Path, str]:
    include = (f"-I{SOURCES}", f"-I{torch_root() / 'include'}")
    first = [str(compiler()), *CPU] if device == "cpu" else [str(nvcc()), *CUDA, *_gencode(architectures)]
    objects = {path: folder / f"{path.name}.o" for path in sources(device)}
    with ThreadPoolExecutor(max(1, os.cpu_count() or 1)) as pool:
        commands = [[*first, *COMMON, *include, "-c", str(path), "-o", str(made)] for path, made in objects.items()]
        said = list(pool.map(_run, commands))
    made = folder / f"hdx_{device}.so"
    link = [first[0], "-shared", *map(str, objects.values()), "-o", str(made), f"-L{torch_root() / 'lib'}", "-ltorch_cpu"]
    if device == "cuda" and (torch_root() / "lib/libtorch_cuda.so").is_file():  # else the libraries that are loaded must have it
        link.append("-ltorch_cuda")
    if sys.platform == "darwin":
        link += ["-undefined", "dynamic_lookup"]
    return made, "".join([*said, _run(link)])


def _gencode(architectures: tuple[str, ...]) -> list[str]:
    """Code for those of the architectures that nvcc knows; of the first also what a driver compiles for a GPU that none fits."""
    known = _run([str(nvcc()), "--list-gpu-arch"]).split()
    names = [name for name in architectures if f"compute_{name.rstrip('a')}" in known]
    if not names:
        raise BuildError(f"nvcc knows none of the architectures {', '.join(architectures)}  (install a newer CUDA toolkit)")
    portable = f"-gencode=arch=compute_{names[0]},code=[sm_{names[0]},compute_{names[0]}]"
    return [portable, *(f"-gencode=arch=compute_{name},code=sm_{name}" for name in names[1:])]


def _run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode:
        error = next((line for line in text.splitlines() if "error" in line), text.strip()[-200:])
        raise BuildError(f"{Path(command[0]).name}: {error}  (the command: {' '.join(command)})")
    return text
