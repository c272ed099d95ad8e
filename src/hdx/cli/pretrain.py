"""`hdx pretrain`: make the weights of the shipped body again."""

from __future__ import annotations

import argparse
import sys

from hdx.cli import _common

SUMMARY = "pretrain the small body `tiny` on images drawn from formulas and export its weights"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides of the recipe, and the file to write."""
    _common.add_config_arguments(parser)
    _common.add_json_argument(parser)
    parser.add_argument(
        "--out", metavar="FILE", default=None, help="file of weights to write (default: OUTPUT_DIR/tiny.safetensors)"
    )
    parser.add_argument("--force", action="store_true", help="train again although the run is finished")


def run(args: argparse.Namespace) -> int:
    """Train `+exp=pretrain_tiny` (or resume it), then export."""
    from pathlib import Path

    if not any(override.lstrip("+").startswith("exp=") for override in args.overrides):
        args.overrides = ["+exp=pretrain_tiny", *args.overrides]
    config = _common.config_from(args)
    if args.cfg:
        _common.print_config(config, args.json)
        return 0
    from hdx.cli.train import go
    from hdx.config.before import as_before
    from hdx.config.paths import absolute_in
    from hdx.engine.export import export_tiny
    from hdx.store.rundir import RunDir

    config = as_before(absolute_in(config))
    run_dir = RunDir.of(config["output_dir"], config.run_id)
    path = Path(args.out or Path(config["output_dir"]) / "tiny.safetensors").resolve()
    code = go(config, run_dir, as_json=args.json, force=args.force)
    size = export_tiny(config, run_dir, path)
    print(
        f"wrote {path} ({size / 1e6:.2f} MB); use it with backbone.checkpoint={path}",
        file=sys.stderr if args.json else sys.stdout,
    )
    return code
