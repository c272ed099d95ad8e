"""`hdx ops bench`: what this machine can do, and how near each op comes to it, form by form.

An op's module says by `cases(device)` what is measured: the bytes that must move, the arithmetic that must be done, and the
forms, each a function of no arguments; the first one is what a person would write without hdx. The roofline of a case is the
larger of bytes / copy rate and FLOPs / product rate, the ceilings as measured in the same process.
"""

from __future__ import annotations

import csv
import importlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

OPS = ("kd_rows", "episode_ncm", "rkd_triplet", "class_moments", "class_scores", "act_quant8")
COLUMNS = ("case", "form", "device", "threads", "ms_p20", "ms_p50", "ms_p80", "speedup", "roofline", "gb", "gflop")
COPIED, PRODUCT = 2**28, {"cpu": 2048, "cuda": 8192}  # bytes and edge of what the ceilings are measured on


@dataclass(frozen=True)
class Case:
    """One op at one shape.

    Attributes:
        name: op and shape.
        bytes: that must be read and written at least once.
        flops: that must be done.
        forms: name to a function of no arguments, gradients included where the case is about them; the first is the yardstick.
        compiled: what `torch.compile` is given, None where it is of no interest.
        note: why a form cannot come near the roofline, where it cannot.
    """

    name: str
    bytes: float
    flops: float
    forms: Mapping[str, Callable[[], object]]
    compiled: Callable[[], object] | None = None
    note: str = ""


@dataclass(frozen=True)
class Ceilings:
    """What the machine does in plain torch: bytes read and written a second by a copy, float32 FLOPs a second by a product."""

    copy: float
    product: float

    def seconds(self, case: Case) -> float:
        """The least time in which a case can be done."""
        return max(case.bytes / self.copy, case.flops / self.product)


@dataclass
class Result:
    """A row of the table; times in ms, `speedup` over the case's first form, `roofline` the share of what is possible."""

    case: str
    form: str
    device: str
    threads: int
    ms_p20: float
    ms_p50: float
    ms_p80: float
    speedup: float
    roofline: float
    gb: float
    gflop: float
    note: str = field(default="")

    def row(self) -> list[str]:
        """Its values under `COLUMNS`."""
        values = [getattr(self, name) for name in COLUMNS]
        return [f"{value:.4g}" if isinstance(value, float) else str(value) for value in values]


def ceilings(device: str) -> Ceilings:
    """Measured now. On a GPU float32 products keep whatever precision the process has set for them."""
    source = torch.ones(COPIED // 4, device=device)
    target = torch.empty_like(source)
    matrix = torch.randn(PRODUCT[device], PRODUCT[device], device=device)
    copy = min(times(lambda: target.copy_(source), device))
    product = min(times(lambda: matrix @ matrix, device))
    return Ceilings(2 * COPIED / copy, 2 * PRODUCT[device] ** 3 / product)


def cases(names: tuple[str, ...], device: str) -> Iterator[Case]:
    """Those of the ops of these names."""
    for name in names:
        module = importlib.import_module(f"hdx.ops.{name}")
        yield from getattr(module, "cases", lambda device: ())(device)


def measure(case: Case, limits: Ceilings, device: str, compile_too: bool = True) -> list[Result]:
    """All forms of a case, in turns, so that whatever else the machine does falls on all of them alike."""
    forms = dict(case.forms)
    if compile_too and case.compiled is not None:
        torch.compiler.reset()
        forms["torch.compile"] = torch.compile(case.compiled, dynamic=False)
    taken = dict(zip(forms, _in_turns(list(forms.values()), device)))
    first = _quantile(next(iter(taken.values())), 0.5)
    return [_result(case, name, each, first, limits, device) for name, each in taken.items()]


def _result(case: Case, form: str, taken: list[float], first: float, limits: Ceilings, device: str) -> Result:
    low, middle, high = (_quantile(taken, share) for share in (0.2, 0.5, 0.8))
    return Result(
        case=case.name,
        form=form,
        device=device,
        threads=torch.get_num_threads(),
        ms_p20=1e3 * low,
        ms_p50=1e3 * middle,
        ms_p80=1e3 * high,
        speedup=first / middle,
        roofline=limits.seconds(case) / middle,
        gb=case.bytes / 1e9,
        gflop=case.flops / 1e9,
        note=case.note,
    )


def times(work: Callable[[], object], device: str, seconds: float = 0.5) -> list[float]:
    """Times of calls within about `seconds`, at least 3 of them, after one that warms up."""
    return _in_turns([work], device, seconds)[0]


def _in_turns(works: list[Callable[[], object]], device: str, seconds: float = 1.0) -> list[list[float]]:
    for work in works:
        work()
    taken: list[list[float]] = [[] for _ in works]
    end = time.perf_counter() + seconds * len(works)
    while len(taken[0]) < 3 or (time.perf_counter() < end and len(taken[0]) < 200):
        for work, each in zip(works, taken):
            _seconds(work, device)  # so that a form finds the caches as its own last step left them, and not another form's
            each.append(_seconds(work, device))
    return taken


def _seconds(work: Callable[[], object], device: str) -> float:
    if device == "cuda":
        torch.cuda.synchronize()
    started = time.perf_counter()
    work()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - started


def _quantile(values: list[float], share: float) -> float:
    ordered = sorted(values)
    return ordered[round(share * (len(ordered) - 1))]


def write_csv(path: Path, results: list[Result]) -> None:
    """One line for each result, under `COLUMNS`."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([*COLUMNS, "note"])
        writer.writerows([*result.row(), result.note] for result in results)


def plain(results: list[Result]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [vars(result) for result in results]
