"""`hdx doctor`: what this machine can do, what was found, and what to do about what is missing."""

from __future__ import annotations

import argparse

from hdx.cli import _common

SUMMARY = "what this machine can do: versions, devices, precisions, data found"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hdx doctor`."""
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help="data_dir=…, output_dir=…")
    _common.add_config_dir_argument(parser)
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Look, and print one line for each thing looked at."""
    config = _common.config_from(args)
    from hdx.cli._doctor import examine

    findings = examine(config["data_dir"], config["output_dir"])
    if args.json:
        _common.print_json([vars(finding) for finding in findings])
        return 0
    width = max(len(finding.what) for finding in findings)
    for finding in findings:
        advice = f"  ({finding.advice})" if finding.advice and not finding.ok else ""
        print(f"{'ok     ' if finding.ok else 'missing'}  {finding.what:<{width}}  {finding.found}{advice}")
    return 0
