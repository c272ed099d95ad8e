"""`hdx export RUN --out model.safetensors`: a finished run as one file."""

from __future__ import annotations

import argparse
import sys

from hdx.cli import _common, _runs

SUMMARY = "write the model of a finished run to one .safetensors file, for hdx predict or plain torch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run, and the file."""
    parser.add_argument("run", metavar="RUN", help="a run directory, or a run id (exp/hash-sN)")
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="output_dir=…, data_dir=…, accelerator=… of this machine"
    )
    parser.add_argument("--out", metavar="FILE", default="model.safetensors", help="file to write (default: model.safetensors)")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Load, merge, write, and say how to use it."""
    from pathlib import Path

    from hdx.cli._existing import existing_run

    config, run_dir = existing_run(args.run, args.overrides)
    from hdx.engine.export_model import export_model, snippet

    path = Path(args.out)
    about = export_model(config, run_dir, path)
    if args.json:
        _common.print_json({"file": str(path), **about})
        return 0
    backbone, head = about["backbone"]["name"], about["head"]
    what = f"{backbone} body" + (f", {head['from']} head, {len(about['classes'])} classes" if head else "")
    print(_runs.clean(f"wrote {path} ({about['bytes'] / 1e6:.2f} MB): {what} of run {about['run_id']}"))
    print(f"use it:  hdx {f'predict {path} images/' if head else f'train … backbone={backbone} backbone.checkpoint={path}'}")
    code = snippet(about, str(path))
    if code:
        print(f"or with torch and timm alone:\n\n{code}", file=sys.stdout)
    return 0
