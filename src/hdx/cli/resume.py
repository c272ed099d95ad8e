"""`hdx resume`: go on with an interrupted run."""

from __future__ import annotations

import argparse
from typing import Any

from hdx.cli import _common

SUMMARY = "go on with an interrupted run, from its last finished session or the checkpoint inside it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which run."""
    parser.add_argument("run", metavar="RUN", help="a run directory, or a run id (exp/hash-sN) under output_dir")
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="output_dir=…, devices=…, threads=… of this machine")
    parser.add_argument("--retry-failed", action="store_true", help="go on although the run failed")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Find the run and go on."""
    from pathlib import Path

    from hdx.cli.train import go
    from hdx.config.config import Config
    from hdx.errors import RunError
    from hdx.store.rundir import find_run

    changes = machine_overrides(args.overrides)
    run_dir = find_run(args.run, Path(changes.get("output_dir", "outputs")))
    config = Config.load(run_dir.config_file)
    status = run_dir.status()
    if status["state"] == "failed" and not args.retry_failed:
        raise RunError(f"run {config.run_id} failed: {status.get('reason')}; add --retry-failed to go on")
    if changes:
        config = config.replace(**changes)
        config.save(run_dir.config_file)
    return go(config, run_dir, as_json=args.json)


def machine_overrides(overrides: list[str]) -> dict[str, Any]:
    """The run options in `overrides`, checked. Raises: ConfigError for one that is part of the run's identity."""
    from hdx.config.identity import UNHASHED
    from hdx.config.validate import load
    from hdx.errors import ConfigError

    keys = [override.partition("=")[0] for override in overrides]
    fixed = [key for key in keys if key not in UNHASHED]
    if fixed:
        raise ConfigError(
            f"{fixed[0]}: a resumed run keeps its config; expected one of {', '.join(UNHASHED)}  (another config: hdx train)"
        )
    config = load(overrides)
    return {key: config[key] for key in keys}
