"""The argument parser of one subcommand: overrides and options may be mixed, and mistakes become advice."""

from __future__ import annotations

import argparse
from typing import Any, NoReturn

from hdx.errors import ConfigError
from hdx.registry import did_you_mean


class Parser(argparse.ArgumentParser):
    """argparse that raises ConfigError where it would print its usage and exit, and does not ask for what may be absent."""

    def add_argument(self, *names: Any, **options: Any) -> argparse.Action:  # type: ignore[override]
        """As argparse's, for which a list that may be empty is required where it has no default."""
        return super().add_argument(*names, **({"default": []} if options.get("nargs") == "*" else {}) | options)

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
    if options := [word for word in unknown if word.startswith("-")]:  # what follows one is read as another argument
        takes = any(action.dest == "overrides" for action in parser._actions)
        raise ConfigError([_unknown(word, known, parser.prog, _after(word, arguments) if takes else None) for word in options])
    if unknown:
        raise ConfigError([f"'{word}' is one argument too many  ({parser.prog} --help)" for word in unknown])
    return args


def _after(word: str, arguments: list[str]) -> str:
    """The value that an option was meant to have: after its `=`, or the next word."""
    _, given, value = word.partition("=")
    follows = arguments[arguments.index(word) + 1 :] if word in arguments else []
    return value if given else next((each for each in follows[:1] if not each.startswith("-") and "=" not in each), "")


def _unknown(word: str, known: list[str], prog: str, value: str | None) -> str:
    """The line for an unknown option; `value` is None where the command takes no overrides."""
    name = word.partition("=")[0]
    key = None if value is None else _key_of(name.lstrip("-").replace("-", "_"))
    if key is not None:
        return f"option '{word}' is unknown: it is an override: {key}={value or '…'}  ({prog} --help)"
    return f"option '{word}' is unknown.{did_you_mean(name, known, cutoff=0.7)}  ({prog} --help)"


def _key_of(name: str) -> str | None:
    """The key of a run option, of a group, of a dotted option as it is, or of the only recipe's option called so."""
    from hdx import registry
    from hdx.config import schema

    group, _, rest = name.partition(".")
    if schema.run_options().option(name) or name in registry.groups() or rest and group in registry.groups():
        return name
    if name in ("exp", "sweep"):
        return f"+{name}"
    return f"trainer.{name}" if schema.describe("trainer", "default").option(name) else None
