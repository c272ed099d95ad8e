"""`hdx resume`: go on with an interrupted run."""

from __future__ import annotations

import argparse
from typing import Any

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
    from pathlib import Path

    from hdx.cli.train import absolute, go
    from hdx.config.config import Config
    from hdx.engine.launch import adopt
    from hdx.store.rundir import find_run

    changes = machine_overrides(args.overrides)
    run_dir = find_run(args.run, Path(changes.get("output_dir", "outputs")))
    for key in {"output_dir", "data_dir"} & set(changes):
        changes[key] = absolute(changes[key])
    config = Config.load(run_dir.config_file).replace(**changes)
    home = run_dir.path.parents[1]
    if home.name == "runs" and run_dir.path == home / config.run_id:
        config = config.replace(output_dir=str(home.parent))  # wherever the folder was moved to
    elif "output_dir" not in changes:  # a directory that lies elsewhere does not say where hdx keeps its caches
        config = config.replace(output_dir=absolute("outputs"))
    adopt(config, run_dir, retry_failed=args.retry_failed)
    return go(config, run_dir, as_json=args.json)


def machine_overrides(overrides: list[str]) -> dict[str, Any]:
    """The run options in `overrides`, checked. Raises: ConfigError for one that is part of the run's identity."""
    from hdx.config.identity import UNHASHED
    from hdx.config.validate import load
    from hdx.errors import ConfigError

    allowed = [key for key in UNHASHED if key != "seed"]
    keys = [override.partition("=")[0] for override in overrides]
    fixed = [key for key in keys if key not in allowed]
    if fixed:
        raise ConfigError(
            f"{fixed[0]}: a resumed run keeps its config; expected one of {', '.join(allowed)}  (another config: hdx train)"
        )
    config = load(overrides)
    return {key: config[key] for key in keys}
