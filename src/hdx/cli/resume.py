"""`hdx resume`: go on with an interrupted run."""

from __future__ import annotations

import argparse

from hdx.cli import _common

SUMMARY = "go on with an interrupted run, from its last finished session or the checkpoint inside it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", metavar="RUN", help="a run directory, or a run id (exp/hash-sN) under output_dir")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="OVERRIDE", help="output_dir=…, devices=…, threads=… of this machine"
    )
    parser.add_argument("--retry-failed", action="store_true", help="go on although the run failed")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Find the run and go on."""
    from hdx.cli._existing import existing_run
    from hdx.cli.train import go

    config, run_dir = existing_run(args.run, args.overrides)
    return go(config, run_dir, as_json=args.json, retry_failed=args.retry_failed)
