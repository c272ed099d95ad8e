"""`hdx COMMAND …`: finds the subcommand, and turns everything that can go wrong into one line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from types import ModuleType

from hdx import streams
from hdx.cli._threads import wait_briefly

COMMANDS = (
    "train",
    "sweep",
    "list",
    "show",
    "config",
    "doctor",
    "resume",
    "pretrain",
    "table",
    "plot",
    "runs",
    "status",
    "rm",
    "query",
    "compare",
    "export",
    "predict",
    "ops",
    "data",
)

USAGE = """\
usage: hdx COMMAND [overrides] [options]

Few-shot, class-incremental and distillation benchmarks composed from config files.

commands:
{commands}

Overrides choose a part (head=ncm), a preset (+exp=fsa_film) or an option (head.ridge=0.1), in Hydra's grammar.
`hdx COMMAND --help` explains a command, `hdx list` and `hdx show head=lda` explain the parts.

options:
  -h, --help   this text
  --version    the version of hdx
  --debug      tracebacks instead of one-line errors (or HDX_DEBUG=1)
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line (default: `sys.argv`). Returns the exit code: 0, 1 for a bug, 2 for the user's errors, 130."""
    os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")  # large pages for torch: page faults are half of a large tensor's cost
    arguments = list(sys.argv[1:] if argv is None else argv)
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    debug = "--debug" in options or os.environ.get("HDX_DEBUG", "0") not in ("", "0")
    as_json = "--json" in options
    wait_briefly()
    streams.protect()
    try:
        code = _dispatch([word for word in arguments if word != "--debug"])
        _name_broken_plugins([])
        return code or _unwritten()
    except SystemExit as stop:  # argparse, after it has printed the help of a command
        return int(stop.code or 0)
    except KeyboardInterrupt:
        return _fail(["interrupted"], 130, as_json)
    except Exception as error:
        return _report(error, debug, as_json)


def load_command(name: str) -> ModuleType:
    """The module of a subcommand: SUMMARY, add_arguments, run."""
    import importlib

    return importlib.import_module(f"hdx.cli.{name}")


def _dispatch(arguments: list[str]) -> int:
    first = arguments[0] if arguments else "--help"
    if first in ("-h", "--help", "help"):
        width = max(map(len, COMMANDS)) + 2
        print(USAGE.format(commands="\n".join(f"  {name:<{width}}{load_command(name).SUMMARY}" for name in COMMANDS)), end="")
        return 0
    if first in ("--version", "-V"):
        import hdx

        print(f"hdx {hdx.__version__}")
        return 0
    if first not in COMMANDS:
        raise _unknown(first)
    from hdx.cli._parser import parse

    if first == "train" and {"-m", "--multirun"} & set(arguments):  # Hydra's habit
        first, arguments = "sweep", [word for word in arguments if word not in ("-m", "--multirun")]
    command = load_command(first)
    args = parse(first, command, arguments[1:])
    return int(command.run(args))


def _unwritten() -> int:
    """0 where all was printed or nobody wanted to read on (`hdx list | head`), 2 where it was lost, as on a full disk."""
    sys.stdout.flush()
    error = streams.lost(sys.stdout)
    if error is None or error.errno in streams.GONE:
        return 0
    return _fail([f"stdout cannot be written: {error.strerror}; what the command did stays done"], 2, as_json=False)


def _unknown(word: str) -> Exception:
    from hdx.errors import ConfigError
    from hdx.registry import did_you_mean

    if word.startswith("-"):
        return ConfigError(f"option '{word}' stands before the command: hdx COMMAND {word} …  (hdx --help)")
    if "=" in word:
        return ConfigError(f"'{word}' is an override without a command. Did you mean 'hdx train {word}'?  (hdx --help)")
    return ConfigError(f"command '{word}' is unknown.{did_you_mean(word, list(COMMANDS))}  (hdx --help)")


def _report(error: Exception, debug: bool, as_json: bool) -> int:
    from hdx.errors import ConfigError, HdxError

    if debug:
        import traceback

        traceback.print_exc()
    if isinstance(error, HdxError):
        lines = error.problems if isinstance(error, ConfigError) else [str(error)]
        return _fail(lines, error.exit_code, as_json)
    what = " ".join(str(error).split())
    line = f"{type(error).__name__}: {what}" if what else type(error).__name__
    return _fail([line if debug else f"{line}  (a bug of hdx or of its machine; for the traceback add --debug)"], 1, as_json)


def _name_broken_plugins(said: list[str]) -> None:
    """A line on stderr for each that is left out, unless it was said, after a command that looked for components."""
    registry = sys.modules.get("hdx.registry")
    for line in registry.problems() if registry is not None and registry.looked() else ():
        if not any(line in other for other in said):
            print(f"hdx: {line}", file=sys.stderr)


def _fail(lines: list[str], code: int, as_json: bool) -> int:
    for line in lines:
        print(f"hdx: {line}", file=sys.stderr)
    _name_broken_plugins(lines)
    if as_json:
        import json

        document = json.dumps({"error": lines}, ensure_ascii=False)
        print(document if streams.prints(document, sys.stdout) else json.dumps({"error": lines}), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
