"""A run whose process died is free at once, however it died; one whose process lives is not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hdx.errors import RunError
from hdx.store.files import read_json, write_json
from hdx.store.lease import Lease, living_holder, refuse_if_held

TAKE = "import sys, time; from pathlib import Path; from hdx.store.lease import Lease; Lease(Path(sys.argv[1])).__enter__(); "


def test_the_number_of_a_dead_process_that_was_given_away(tmp_path: Path) -> None:
    with Lease(tmp_path) as lease:
        assert living_holder(tmp_path) is not None
        holder = read_json(tmp_path / "lease.json")
        if holder["began"] is None:
            pytest.skip("this system does not tell when a process began (no /proc)")
        write_json(tmp_path / "lease.json", {**holder, "began": str(int(holder["began"]) - 1)})
        assert living_holder(tmp_path) is None
        assert lease.mine["pid"] == os.getpid()


def test_a_zombie_holds_nothing(tmp_path: Path) -> None:
    if not Path("/proc/self/stat").exists():
        pytest.skip("zombies are told by /proc")
    process = subprocess.Popen(
        [sys.executable, "-c", TAKE + "print('mine', flush=True); time.sleep(60)", str(tmp_path)], stdout=-1
    )
    assert process.stdout is not None and process.stdout.readline() == b"mine\n"
    with pytest.raises(RunError, match=f"process {process.pid} on .* has it"):
        refuse_if_held(tmp_path)
    process.kill()
    deadline = time.monotonic() + 10
    while living_holder(tmp_path) is not None and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, 0)  # nobody has waited for it: its number is still there
    with Lease(tmp_path):
        assert read_json(tmp_path / "lease.json")["pid"] == os.getpid()
    process.wait()
    process.stdout.close()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"host": "x"}', '{"host": "x", "pid": "y"}'])
def test_a_damaged_lease_is_taken_away(content: str, tmp_path: Path) -> None:
    (tmp_path / "lease.json").write_text(content)
    with Lease(tmp_path):
        assert read_json(tmp_path / "lease.json")["pid"] == os.getpid()
    assert list(tmp_path.iterdir()) == []
