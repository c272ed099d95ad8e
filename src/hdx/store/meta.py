"""What machine and which versions a run was made with."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = ("hdx", "torch", "torchvision", "timm", "pytorch-lightning", "hydra-core", "numpy", "scikit-learn")


@cache
def machine() -> dict[str, Any]:
    """Host, platform, package versions and the git state of hdx's checkout (None outside one), as first asked for."""
    return {
        "host": socket.gethostname(),
        "platform": platform.platform(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "versions": versions(PACKAGES),
        "git": _git(Path(__file__).resolve().parent),
    }


def versions(packages: Iterable[str]) -> dict[str, str | None]:
    """The installed version of each package, None where it is not there."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    def ask(*words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"sha": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None
