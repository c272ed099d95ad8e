"""`hdx rm`: remove runs."""

from __future__ import annotations

import argparse

from hdx.cli import _common, _runs

SUMMARY = "remove runs with all their files (asks first; --yes does not)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Which runs."""
    parser.add_argument("runs", nargs="+", metavar="RUN", help="full run ids (exp/hash-sN) or run directories; output_dir=…")
    parser.add_argument("-y", "--yes", action="store_true", help="do not ask")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Check all, ask, remove."""
    from hdx.errors import ConfigError, Interrupted
    from hdx.store.lease import refuse_if_held
    from hdx.store.remove import exact_run, remove_run

    output_dir, names = _runs.split_output_dir(args.runs)
    if not names:
        raise ConfigError("which run? hdx rm RUN…  (hdx runs lists them)")
    paths = list(dict.fromkeys(exact_run(name, output_dir) for name in names))
    for path in paths:
        refuse_if_held(path)
    if not args.yes and not _agreed([f"{path.parent.name}/{path.name}" for path in paths], args.json):
        raise Interrupted("nothing was removed")
    for path in paths:
        remove_run(path)
    removed = [f"{path.parent.name}/{path.name}" for path in paths]
    if args.json:
        _common.print_json({"removed": removed})
    else:
        print("\n".join(f"removed {_runs.clean(run_id)}" for run_id in removed))
    return 0


def _agreed(run_ids: list[str], as_json: bool) -> bool:
    """What the user says on the terminal. Raises: ConfigError where there is none to ask."""
    import sys

    from hdx.errors import ConfigError

    if not sys.stdin.isatty() or as_json:
        raise ConfigError(f"{len(run_ids)} run(s) would be removed and nobody can be asked here: add --yes")
    for run_id in run_ids[:20]:
        print(_runs.clean(run_id))
    if len(run_ids) > 20:
        print(f"… {len(run_ids) - 20} more")
    print(
        f"remove {'this run' if len(run_ids) == 1 else f'these {len(run_ids)} runs'} with all files? [y/N] ", end="", flush=True
    )
    return sys.stdin.readline().strip().lower() in ("y", "yes")
