"""What can be known of the CUDA ops without a GPU: that they compile to what they should, load, and compute the right thing."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from hdx.ops import build
from tests.unit.ops.emulated.build import make

ROOT = Path(__file__).parents[3]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(build.obstacle("cuda")), reason=build.obstacle("cuda") or "-"),
]

LOADED = """
import torch
from hdx.ops import act_quant8, class_moments, dispatch, episode_ncm, kd_rows, rkd_triplet
torch.ops.load_library({library!r})
for name, op in sorted(dispatch.OPS.items()):
    if "cuda" in op.devices:
        print(name, torch._C._dispatch_has_kernel_for_dispatch_key("hdx::" + name, "CUDA"))
"""
OPS = ["act_dequant8", "act_quant8", "class_moments", "episode_ncm", "kd_rows", "kd_rows_backward"]
OPS += ["rkd_triplet", "rkd_triplet_backward"]


def run(*words: str, **environment: str) -> str:
    paths = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": paths, "OMP_NUM_THREADS": "1", **environment},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def seconds_of_children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_the_sources_build_for_every_architecture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HDX_OPS_DIR", str(tmp_path))
    before = seconds_of_children()
    library, log = build.build("cuda")
    assert seconds_of_children() - before < 60  # of all cores: a user waits for less
    assert "warning" not in log, log  # a host function in device code is no more than that
    kernels = re.findall(r"Compiling entry function '(\w+)' for '(\w+)'", log)
    by_architecture = {name: {kernel for kernel, of in kernels if of == f"sm_{name}"} for name in build.ARCHITECTURES}
    assert len({len(found) for found in by_architecture.values()}) == 1 and all(by_architecture.values())
    frames = re.findall(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", log)
    assert len(frames) == len(kernels)
    assert set(frames) == {("0", "0", "0")}
    assert run("-c", LOADED.format(library=str(library))).splitlines() == [f"{name} True" for name in OPS]


def test_the_kernels_compute_the_right_thing_thread_by_thread_on_a_cpu(tmp_path: Path) -> None:
    library = make(tmp_path)
    words = ("-m", "pytest", "-v", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/unit/ops/test_cuda_kernels.py")
    said = run(*words, HDX_EMULATED_CUDA=str(library), HDX_OPS_DIR=str(tmp_path))
    counts = re.search(r"(\d+) passed, 1 skipped", said)
    assert counts is not None and int(counts[1]) > 80, said
