"""`hdx config [overrides]`: the resolved config, checked, with where every value was set on request."""

from __future__ import annotations

import argparse

from hdx.cli import _common

SUMMARY = "print the resolved config (--sources: where each value was set)"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hdx config`."""
    _common.add_config_arguments(parser)
    parser.add_argument("--sources", action="store_true", help="say for each value where it was set")
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the config."""
    if not args.sources:
        _common.print_config(_common.config_from(args), args.json)
        return 0
    from hdx.config.validate import load_with_sources

    config, sources = load_with_sources(args.overrides, args.config_dirs)
    if args.json:
        _common.print_json({"config": config.data, "sources": sources})
    else:
        _print_with_sources(config.to_yaml(), sources)
    return 0


def _print_with_sources(text: str, sources: dict[str, str]) -> None:
    """Each line of the YAML with its source in a column at the right."""
    rows = []
    group = ""
    for line in text.splitlines():
        key = line.strip().partition(":")[0]
        nested = line.startswith(" ")
        dotted = f"{group}.{key}" if nested else key
        group = group if nested else key
        rows.append((line, sources.get(dotted, "")))
    width = max(len(line) for line, where in rows if where)
    for line, where in rows:
        print(f"{line:<{width}}  # {where}" if where else line)
