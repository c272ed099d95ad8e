"""What several subcommands share: the arguments that make a config, and the one document of `--json`."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hdx.config.config import Config


def add_config_arguments(parser: argparse.ArgumentParser) -> None:
    """Overrides, `-cd DIR` and Hydra's `--cfg job`."""
    parser.add_argument(
        "overrides", nargs="*", metavar="OVERRIDE", help="+exp=NAME, group=name, group.option=value, ~key (Hydra's grammar)"
    )
    add_config_dir_argument(parser)
    parser.add_argument("--cfg", choices=("job",), help="print the resolved config and do nothing else")


def add_config_dir_argument(parser: argparse.ArgumentParser) -> None:
    """`-cd DIR`, which may be given several times."""
    parser.add_argument(
        "-cd",
        "--config-dir",
        dest="config_dirs",
        metavar="DIR",
        action="append",
        default=[],
        help="a further folder of config files; ./conf is always looked at",
    )


def add_json_argument(parser: argparse.ArgumentParser) -> None:
    """`--json`: one document on stdout."""
    parser.add_argument("--json", action="store_true", help="print one JSON document on stdout, everything else on stderr")


def config_from(args: argparse.Namespace) -> Config:
    """The checked config of `args.overrides` and `args.config_dirs`. Raises: ConfigError with all that is wrong."""
    from hdx.config.validate import load

    return load(args.overrides, args.config_dirs)


def print_config(config: Config, as_json: bool = False) -> None:
    """The resolved config, as YAML or JSON."""
    if as_json:
        print_json(config.data)
    else:
        print(config.to_yaml(), end="")


def print_json(value: Any) -> None:
    """One document; anything that is no plain data is an error here rather than a surprise for the reader."""
    import json
    import sys

    from hdx.streams import prints

    document = json.dumps(value, indent=2, ensure_ascii=False)
    print(document if prints(document, sys.stdout) else json.dumps(value, indent=2), flush=True)
