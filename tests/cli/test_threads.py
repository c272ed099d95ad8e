"""Waiting threads give their core away: the variable is set before OpenMP reads it, and the user's own word stands."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from hdx.cli._threads import SPINS

CODE = """
import ctypes, os, sys
from hdx.cli.main import main
assert "torch" not in sys.modules
main(["--version"])
libc = ctypes.CDLL(None)
libc.getenv.restype = ctypes.c_char_p
print(*((libc.getenv(name) or b"-").decode() for name in (b"GOMP_SPINCOUNT", b"OMP_WAIT_POLICY")))
"""


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, f"{SPINS} -"),
        ({"GOMP_SPINCOUNT": "7"}, "7 -"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "- ACTIVE"),
    ],
)
def test_threads_wait_briefly_unless_told_otherwise(given: dict[str, str], expected: str) -> None:
    """Asked of the C library, as OpenMP asks it."""
    clean = {name: value for name, value in os.environ.items() if name not in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    done = subprocess.run([sys.executable, "-c", CODE], env=clean | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == expected
