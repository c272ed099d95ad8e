"""`hdx ops`: what is built, what runs where, and how fast."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from pathlib import Path

import pytest
from tests.cli.conftest import Command, Inside

from hdx.ops import build


@pytest.fixture
def unbuilt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As on a machine where nothing was ever compiled."""
    monkeypatch.setenv("HDX_OPS_DIR", str(tmp_path / "ops"))


def test_doctor_names_what_mends_it(hdx: Command, unbuilt: None) -> None:
    done = hdx("ops", "doctor")
    assert done.returncode == 0, done.stderr
    lines = {tuple(line.split()[:2]): line for line in done.stdout.splitlines() if line}
    for op in ("kd_rows", "episode_ncm", "rkd_triplet", "class_gram", "class_scores"):
        assert lines[op, "cpu"].endswith("not built  (run: hdx ops build)")
    assert any(line.startswith("C++ compiler") for line in done.stdout.splitlines())


def test_build_then_a_run_that_demands_it(hdx: Command) -> None:
    if reason := build.obstacle("cpu"):
        pytest.skip(f"native ops need a compiler: {reason}")
    shared = {"HDX_OPS_DIR": str(Path(tempfile.gettempdir()) / f"hdx-ops-tests-{os.getuid()}")}
    done = hdx("ops", "build", **shared)
    assert done.returncode == 0, done.stderr
    library = Path(done.stdout.split()[1])
    assert done.stdout.startswith("cpu  ") and library.name == "hdx_cpu.so" and library.is_file()
    document = json.loads(hdx("ops", "doctor", "--json", **shared).stdout)
    assert {"op": "episode_ncm", "device": "cpu", "native": True, "reason": "native"} in document["ops"]
    assert {"op": "kd_rows", "device": "cpu", "native": True, "reason": "native"} in document["ops"]
    done = hdx("train", "+exp=fsa_na", "ops.backend=native", **shared)
    assert done.returncode == 0, done.stderr


def test_a_run_that_demands_what_is_not_built(hdx: Command, unbuilt: None) -> None:
    done = hdx("train", "+exp=fsa_na", "ops.backend=native")
    assert done.returncode == 2
    said = "hdx: ops.backend=native: the cpu library cannot be used: not built  (run: hdx ops build)"
    assert done.stderr.splitlines()[-1] == said


def test_bench_without_native_code(hdx: Command, unbuilt: None, tmp_path: Path) -> None:
    done = hdx("ops", "bench", "class_scores", "--csv", "found.csv", "--no-compile")
    assert done.returncode == 0, done.stderr
    assert "GB/s" in done.stdout and "GFLOP/s" in done.stdout
    rows = list(csv.DictReader((tmp_path / "found.csv").open()))
    assert [row["form"] for row in rows] == ["eager"] and float(rows[0]["speedup"]) == 1
    assert 0 < float(rows[0]["ms_p20"]) <= float(rows[0]["ms_p50"]) <= float(rows[0]["ms_p80"])


def test_mistakes(inside: Inside) -> None:
    assert inside("ops", "bench", "kd_row")[2] == "hdx: op 'kd_row' is unknown. Did you mean 'kd_rows'?  (hdx ops doctor)\n"
    assert inside("ops", "doctor", "kd_rows")[0] == 2
    assert inside("ops", "compile")[0] == 2


def test_help_needs_no_torch(hdx: Command) -> None:
    done = hdx("ops", "--help", PYTHONPROFILEIMPORTTIME="1")
    assert done.returncode == 0 and "hdx ops bench kd_rows" in done.stdout
    assert not any(line.rpartition("|")[2].strip() == "torch" for line in done.stderr.splitlines())
