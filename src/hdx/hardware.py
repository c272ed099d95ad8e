"""What this machine has, found without torch: cores, GPUs, its place among nodes; and what a run may ask of it."""

from __future__ import annotations

import math
import os
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

AGAIN = "HDX_OVERSUBSCRIBE"  # set to 1: more processes or threads than the machine bears, on purpose
THREADS_A_CORE = 4  # more only wait for each other
_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of all cores together, and the period


def cores() -> int:
    """Cores that this process may use: those it is bound to, and no more than its container is given."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text(encoding="utf-8").split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no container, or one without a bound ("max")
        return bound


def visible_gpus() -> list[str]:
    """The NVIDIA GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    if given is not None:
        return [name.strip() for name in given.split(",") if name.strip() not in ("", "-1")]
    return [str(number) for number in range(_nvidia_gpus())]


@lru_cache(maxsize=1)
def _nvidia_gpus() -> int:
    try:
        found = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return 0
    return sum(line.startswith("GPU ") for line in found.splitlines())


def problems(data: dict[str, Any]) -> list[str]:
    """What a config asks of this machine in vain, a line each: GPUs, processes, threads, a meeting of nodes."""
    if "RANK" in os.environ or data["launcher"]["name"] != "local":  # of a rank, whose launcher was asked; of another machine
        return []
    gpus = _gpus(data)
    lines = [*lacking_gpus(data, gpus), *_meeting(data["nodes"])]
    return lines if lines or gpus or oversubscribed() else _too_many(data)


def oversubscribed() -> bool:
    """Whether the user asked for it a second time."""
    return os.environ.get(AGAIN, "0") not in ("", "0")


def lacking_gpus(data: dict[str, Any], gpus: list[str] | None = None) -> list[str]:
    """A line where a config asks for GPUs by name, or for several, and there are not so many."""
    if data["accelerator"] == "cpu" or _other_gpus():
        return []
    gpus = _gpus(data) if gpus is None else gpus
    if data["accelerator"] == "gpu" and not gpus:
        return ["accelerator=gpu: this machine has no GPU that hdx may use; take accelerator=cpu, or auto for whatever there is"]
    if gpus and data["devices"] > len(gpus):
        return [f"devices: expected at most {len(gpus)} GPUs (what this machine has), got {data['devices']}; or accelerator=cpu"]
    return []


def _gpus(data: dict[str, Any]) -> list[str]:
    """GPUs, where the config makes it worth asking: that takes a process of its own."""
    wanted = data["accelerator"] == "gpu" or data["accelerator"] == "auto" and data["devices"] > 1
    return visible_gpus() if wanted and not _other_gpus() else []


def _other_gpus() -> bool:
    """Whether there are GPUs of another maker, which torch alone knows."""
    return Path("/dev/kfd").exists()


def _too_many(data: dict[str, Any]) -> list[str]:
    devices, threads, n = data["devices"], data["threads"] or 1, cores()
    here = f"{n} {'core' if n == 1 else 'cores'} here"
    if devices > n and not _other_gpus():
        return [f"devices: expected at most {n} processes ({here}), got {devices}; {AGAIN}=1 starts them all the same"]
    if devices * threads > THREADS_A_CORE * n:
        at_most = max(1, THREADS_A_CORE * n // devices)
        return [f"threads: expected at most {at_most} a process ({here}), got {threads}; {AGAIN}=1 starts them all the same"]
    return []


def _meeting(nodes: int) -> list[str]:
    number = os.environ.get("NODE_RANK", os.environ.get("SLURM_NODEID"))
    if nodes == 1 or number is not None and "MASTER_ADDR" in os.environ:
        return []
    return [
        f"nodes={nodes}: expected MASTER_ADDR and NODE_RANK (or SLURM_NODEID) in the environment of each node; "
        "start the same command once on every node with both set"
    ]
