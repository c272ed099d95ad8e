"""What the benchmarks share: the machine in one line, Markdown tables, and where results are kept."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def machine() -> str:
    """CPU model, cores this process may use and versions; nothing that names a host or a folder."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    model = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = f"torch {torch.__version__} with {torch.get_num_threads()} threads, Python {platform.python_version()}"
    return f"{model}, {cores} cores, {versions}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def publish(name: str, title: str, parts: Sequence[str], save: bool) -> None:
    """Print the parts, and with `save` write them to results/<name>.md."""
    text = "\n\n".join([f"# {title}", machine(), *parts]) + "\n"
    print(text)
    if save:
        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(text, encoding="utf-8")


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def interleaved(repeats: int, *works: Callable[[], object], before: Callable[[], object] = lambda: None) -> list[list[float]]:
    """Times of each work, in turns, so that whatever else the machine does falls on all of them alike.

    `before` runs, untimed, before each work.
    """
    times: list[list[float]] = [[] for _ in works]
    for repeat in range(repeats):
        order = list(enumerate(works))
        for number, work in order if repeat % 2 == 0 else order[::-1]:
            before()
            times[number].append(seconds(work))
    return times
