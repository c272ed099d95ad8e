"""The CPU library, compiled once for all test processes and kept by its digest."""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from hdx.ops import build, dispatch


@pytest.fixture(scope="session")
def cpu_library() -> str:
    """Load the CPU ops into this process. Returns: "", or why they cannot be compiled here."""
    if reason := build.obstacle("cpu"):
        return reason
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HDX_OPS_DIR", str(Path(tempfile.gettempdir()) / f"hdx-ops-tests-{os.getuid()}"))
        folder = build.library("cpu").parent
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            build.build("cpu")
        before = dispatch._missing.get("cpu")
        if before == "":  # the user's own build of the same sources
            return ""
        reason = dispatch.load("cpu")
        if before is not None:
            dispatch._missing["cpu"] = before
        return reason


@pytest.fixture
def native(cpu_library: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ops run in their native form during the test, or raise; skipped where nothing can be compiled."""
    if cpu_library:
        pytest.skip(f"native ops need a compiler: {cpu_library}")
    monkeypatch.setitem(dispatch._missing, "cpu", "")
    with dispatch.using("native"):
        yield
