"""`hdx ops build | doctor | bench`: native code for the hot kernels."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.ops.bench import Result

SUMMARY = "native code for the hot kernels: compile it, see what runs where, measure it"

EPILOG = """\
examples:
  hdx ops build                compile the packaged C++ for the CPU; a run then takes it by itself (ops.backend=auto)
  hdx ops build --cuda         and the CUDA C++, which takes nvcc and no GPU
  hdx ops doctor               each op on each device: native, or why not and what to do
  hdx ops bench kd_rows        this machine's ceilings, and how near each form comes to them
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to do, and with which ops."""
    parser.add_argument("action", choices=("build", "doctor", "bench"), help="what to do")
    parser.add_argument("names", nargs="*", metavar="OP", help="bench: which ops (default: all)")
    parser.add_argument("--cuda", action="store_true", help="build: the CUDA library too; bench: on the GPU")
    parser.add_argument("--csv", metavar="FILE", type=Path, help="bench: write the results there")
    parser.add_argument("--threads", type=int, metavar="N", help="bench: threads of torch")
    parser.add_argument("--no-compile", action="store_true", help="bench: leave torch.compile out, which takes its time")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Do it."""
    from hdx.errors import ConfigError

    if args.names and args.action != "bench":
        raise ConfigError(f"'{args.names[0]}' is one argument too many  (hdx ops --help)")
    return {"build": _build, "doctor": _doctor, "bench": _bench}[args.action](args)


def _build(args: argparse.Namespace) -> int:
    from hdx.ops import build

    devices: tuple[build.Device, ...] = ("cpu", "cuda") if args.cuda else ("cpu",)
    built = {}
    for device in devices:
        print(f"compiling {len(build.sources(device))} files for {device} …", file=sys.stderr)
        built[device] = str(build.build(device)[0])
    if args.json:
        _common.print_json(built)
    else:
        for device, path in built.items():
            print(f"{device}  {path}")
    return 0


def _doctor(args: argparse.Namespace) -> int:
    from hdx.ops import doctor

    lines = doctor.examine()
    if args.json:
        _common.print_json({"ops": [vars(line) for line in lines], "toolchain": dict(doctor.toolchains())})
        return 0
    width = max(len(line.op) for line in lines)
    for line in lines:
        print(f"{line.op:<{width}}  {line.device:<4}  {line.reason}")
    print()
    for what, found in doctor.toolchains():
        print(f"{what:<13}  {found}")
    return 0


def _bench(args: argparse.Namespace) -> int:
    from hdx.errors import ConfigError
    from hdx.ops import bench
    from hdx.registry import did_you_mean

    wrong = [name for name in args.names if name not in bench.OPS]
    if wrong:
        raise ConfigError([f"op '{name}' is unknown.{did_you_mean(name, list(bench.OPS))}  (hdx ops doctor)" for name in wrong])
    import torch

    if args.threads:
        torch.set_num_threads(args.threads)
    device = "cuda" if args.cuda else "cpu"
    if args.cuda and not torch.cuda.is_available():
        raise ConfigError("--cuda: torch finds no CUDA device  (hdx doctor)")
    limits = bench.ceilings(device)
    results: list[Result] = []
    if not args.json:
        print(f"{device}: copy {limits.copy / 1e9:.1f} GB/s, float32 product {limits.product / 1e9:.0f} GFLOP/s", end="")
        print(f", {torch.get_num_threads()} threads, torch {torch.__version__}")
    for case in bench.cases(tuple(args.names) or bench.OPS, device):
        found = bench.measure(case, limits, device, not args.no_compile)
        results += found
        if not args.json:
            _show(found)
    if args.csv:
        bench.write_csv(args.csv, results)
    if args.json:
        _common.print_json({"copy": limits.copy, "product": limits.product, "results": bench.plain(results)})
    return 0


def _show(found: list[Result]) -> None:
    first = found[0]
    print(f"\n{first.case}  ({first.gb:.3g} GB, {first.gflop:.3g} GFLOP)" + (f"  {first.note}" if first.note else ""))
    print(f"  {'form':<14}{'p20':>9}{'p50':>9}{'p80':>9}  ms   {'speed-up':>8}  {'roofline':>8}", flush=True)
    for each in found:
        times = "".join(f"{value:>9.3f}" for value in (each.ms_p20, each.ms_p50, each.ms_p80))
        print(f"  {each.form:<14}{times}       {each.speedup:>8.2f}  {100 * each.roofline:>7.0f}%", flush=True)
