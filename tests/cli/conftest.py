"""Two ways to run the command line: as a user does, in a process of its own, and inside this one, which is quicker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdx.cli.main import main

Command = Callable[..., subprocess.CompletedProcess[str]]
Inside = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hdx(tmp_path: Path) -> Command:
    """`hdx(*arguments)` in a fresh process and an empty folder."""

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "hdx.cli.main", *arguments],
            cwd=tmp_path,
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Inside:
    """`inside(*arguments)` gives exit code, stdout and stderr."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HDX_DEBUG", raising=False)

    def run(*arguments: str) -> tuple[int, str, str]:
        code = main(list(arguments))
        out, err = capsys.readouterr()
        return code, out, err

    return run


@pytest.fixture
def document(inside: Inside) -> Callable[..., Any]:
    """`document(*arguments)` is the one JSON document that the command prints with `--json`."""

    def run(*arguments: str) -> Any:
        code, out, err = inside(*arguments, "--json")
        assert (code, err) == (0, "")
        return json.loads(out)

    return run
