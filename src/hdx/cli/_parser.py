"""The argument parser of one subcommand: overrides and options may be mixed, and mistakes become advice."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from hdx.errors import ConfigError
from hdx.registry import did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse that raises ConfigError where it would print its usage and exit."""

    def error(self, message: str) -> NoReturn:
        """Raises: ConfigError."""
        raise ConfigError(f"{message}  ({self.prog} --help)")


def parse(name: str, command: Any, arguments: list[str]) -> argparse.Namespace:
    """Arguments of a subcommand. Raises: ConfigError with a line for each unknown option."""
    parser = Parser(
        prog=f"hdx {name}",
        description=command.SUMMARY,
        epilog=getattr(command, "EPILOG", None),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.add_arguments(parser)
    args, unknown = parser.parse_known_intermixed_args(arguments)
    known = [text for action in parser._actions for text in action.option_strings]
    if unknown:
        raise ConfigError([_unknown(word, known, parser.prog) for word in unknown])
    return args


def _unknown(word: str, known: list[str], prog: str) -> str:
    if not word.startswith("-"):
        return f"'{word}' is one argument too many  ({prog} --help)"
    return f"option '{word}' is unknown.{did_you_mean(word.partition('=')[0], known)}  ({prog} --help)"
