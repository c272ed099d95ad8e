"""`hdx train`: one run from a config."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, Any

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.config.config import Config

SUMMARY = "run one experiment; a finished run is not run again, an interrupted one goes on"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides and what to do with a run that is already there."""
    _common.add_config_arguments(parser)
    _common.add_json_argument(parser)
    parser.add_argument("-m", "--multirun", action="store_true", help="a grid of runs: the same as hdx sweep")
    parser.add_argument("--dry-run", action="store_true", help="say what would be run, from where, what it shares, how long")
    parser.add_argument("--force", action="store_true", help="start the run over, forgetting its results")
    parser.add_argument("--retry-failed", action="store_true", help="try a run again that failed")


def run(args: argparse.Namespace) -> int:
    """Compose, check, run, print."""
    from hdx.errors import ConfigError

    config = _common.config_from(args)
    if args.cfg:
        _check(config)
        _common.print_config(config, args.json)
        return 0
    if config["launcher.name"] != "local":
        name = config["launcher.name"]
        raise ConfigError(f"launcher={name}: hdx train runs here; hdx sweep takes the same words to {name}")
    from hdx.config.before import as_before
    from hdx.config.paths import absolute_in
    from hdx.hardware import lacking_gpus
    from hdx.store.rundir import RunDir

    if lacking := lacking_gpus(config.data):  # a record that a CPU made is no answer to accelerator=gpu
        raise ConfigError(lacking)
    config = as_before(absolute_in(config))
    run_dir = RunDir.of(config["output_dir"], config.run_id)
    if args.dry_run:
        _foresee(config, run_dir, args)
        return 0
    return go(config, run_dir, as_json=args.json, force=args.force, retry_failed=args.retry_failed)


def _foresee(config: Config, run_dir: Any, args: argparse.Namespace) -> None:
    """Check as much as the run would and say what it would do; nothing is written, not even the folder of runs."""
    from hdx.cli import _dry_run
    from hdx.config.paths import config_dirs

    if run_dir.record() is None or args.force:
        _check(config)
    folders = config_dirs(args.config_dirs)
    found = _dry_run.foresee(config, run_dir, folders, force=args.force, retry_failed=args.retry_failed)
    if args.json:
        _common.print_json(found)
    else:
        print("\n".join(_dry_run.lines(found)))


def go(config: Config, run_dir: Any, *, as_json: bool, force: bool = False, retry_failed: bool = False) -> int:
    """Do a run to its end, unless it is finished, and print its record. Raises: Interrupted saying how to resume."""
    stream = sys.stderr if as_json else sys.stdout
    record = None if force else run_dir.record()
    if record is not None:
        made = f", made on a {record['device']}" if record.get("device") and config["accelerator"] == "gpu" else ""
        print(f"run {config.run_id} is finished; this is its record{made} (--force runs it again)", file=stream)
    else:
        record = _run(config, run_dir, stream, force, retry_failed)
    _show(record, as_json)
    return 0


def _run(config: Config, run_dir: Any, stream: Any, force: bool, retry_failed: bool) -> dict[str, Any]:
    _check(config)  # before torch is imported
    from hdx.cli._progress import report_to
    from hdx.engine.launch import launch
    from hdx.errors import Interrupted
    from hdx.streams import noting

    report = report_to(stream)
    try:
        with noting(f"the run goes on (to stop it: kill {os.getpid()}; then: hdx resume {run_dir.path})"):
            return launch(config, run_dir, report, stream, force=force, retry_failed=retry_failed)
    except Interrupted:
        if not run_dir.config_file.exists():
            raise Interrupted("stopped before the run began; nothing was written") from None
        raise Interrupted(f"stopped; nothing finished is lost. Go on with:  hdx resume {run_dir.path}") from None
    finally:
        if hasattr(report, "close"):
            report.close()


def _check(config: Config) -> None:
    from hdx.config.paths import absolute_in
    from hdx.config.ready import check

    check(absolute_in(config).data)


def _show(record: dict[str, Any], as_json: bool) -> None:
    if as_json:
        _common.print_json(record)
        return
    from hdx.cli._summary import summary

    print("\n".join(summary(record)))
