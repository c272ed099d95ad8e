"""`hdx show group=name`: what a component, a preset or a run is, and its options with meaning, default and range."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx.cli import _common

if TYPE_CHECKING:
    from hdx.config.schema import Option

SHOWN = 6  # places of an ambiguous word
SUMMARY = "explain a component, a preset or a run: hdx show head=lda, hdx show run=ID"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hdx show`."""
    parser.add_argument(
        "what", metavar="GROUP=NAME", help="head=lda, exp=fsa_film, …; run=ID; `run` for the options of every run"
    )
    parser.add_argument("overrides", nargs="*", default=[], metavar="output_dir=DIR", help="where the run is (default: outputs)")
    _common.add_config_dir_argument(parser)
    _common.add_json_argument(parser)


def run(args: argparse.Namespace) -> int:
    """Print the explanation."""
    from hdx.config import files, paths
    from hdx.errors import ConfigError

    folders = paths.config_dirs(args.config_dirs)
    if args.what.startswith("run=") and args.what != "run=":
        return _show_run(args, folders)
    if args.overrides:
        raise ConfigError(f"'{args.overrides[0]}' is one argument too many  (hdx show --help)")
    group, name = _target(args.what, folders)
    shown = _preset(group, name, folders) if group in files.PLAIN else _component(group, name, folders)
    if args.json:
        _common.print_json(shown)
    else:
        _print(shown)
    return 0


def _show_run(args: argparse.Namespace, folders: list[Path]) -> int:
    from hdx.cli import _runs, _show_run
    from hdx.errors import ConfigError

    output_dir, rest = _runs.split_output_dir(args.overrides)
    if rest:
        raise ConfigError(f"'{rest[0]}' is one argument too many  (hdx show --help)")
    shown = _show_run.describe(args.what.partition("=")[2], output_dir, folders)
    if args.json:
        _common.print_json(shown)
    else:
        print("\n".join(_show_run.lines(shown)))
    return 0


def _target(what: str, folders: list[Path]) -> tuple[str, str]:
    """Group and name, both known. Raises: ConfigError with advice."""
    from hdx import registry
    from hdx.config import files, overrides
    from hdx.errors import ConfigError

    group, _, name = what.lstrip("+").partition("=")
    if (group, name) == ("run", ""):
        return group, name
    known = [*registry.groups(), *files.PLAIN]
    if group not in known and not name and (found := _place(group, folders)):
        return found
    if group not in known:
        raise ConfigError(f"group '{group}' is unknown.{registry.did_you_mean(group, known)}  (hdx list)")
    if not name:
        raise ConfigError(f"which {group}? hdx show {group}=NAME  (hdx list {group})")
    if files.path(group, name, folders) is None:
        raise ConfigError(overrides.unknown_name(group, name, folders))
    return group, name


def _place(word: str, folders: list[Path]) -> tuple[str, str] | None:
    """The one thing of that name, in whichever group. Raises: ConfigError with all of them where there are several."""
    from hdx.config import files
    from hdx.errors import ConfigError

    exact, inside = files.named(word, folders)
    if len(exact) == 1:
        return exact[0]
    found = [f"{group}={name}" for group, name in exact or inside]
    if found:
        what = "is the name of several" if exact else "is no name, but part of some"
        more = f", … (hdx list {word} has all {len(found)})" if len(found) > SHOWN else ""
        raise ConfigError(f"'{word}' {what}: {', '.join(found[:SHOWN])}{more}  (hdx show {found[0]})")
    return None


def _component(group: str, name: str, folders: list[Path]) -> dict[str, Any]:
    from hdx.config import files, paths, schema

    file = files.paths_of(group, name, folders)[0] if name else paths.packaged() / "run.yaml"
    head, defaults = files.header(file), files.read_plain(file)
    info = schema.describe(group, str(defaults.get("name", name))) if name else schema.run_options()
    return {
        "group": group,
        "name": name or group,
        "component": info.name,
        "summary": head.summary or info.summary,
        "source": head.source or info.source,
        "command": head.command or (files.command(group, name) if name else "hdx train"),
        "licence": info.licence,
        "trains": info.trains,
        "keeps": info.keeps,
        "certainty": info.certainty,
        "file": paths.label(file),
        "options": [_option(option, defaults.get(option.name, option.default)) for option in info.options],
    }


def _option(option: Option, default: Any) -> dict[str, Any]:
    return {
        "name": option.name,
        "type": option.type,
        "bound": option.bound,
        "choices": list(option.choices) if option.choices else None,
        "default": None if default == "???" else default,
        "required": default == "???",
        "meaning": option.meaning,
    }


def _preset(group: str, name: str, folders: list[Path]) -> dict[str, Any]:
    from hdx.config import files, inert, paths

    file = files.paths_of(group, name, folders)[0]
    head, content = files.header(file), files.read_plain(file)
    chosen = {}
    for entry in content.pop("defaults", []):
        for key, value in entry.items() if isinstance(entry, dict) else ():
            chosen[key.removeprefix("override").strip().lstrip("/")] = value
    return {
        "group": group,
        "name": name,
        "summary": head.summary,
        "source": head.source,
        "command": head.command or files.command(group, name),
        "file": paths.label(file),
        "sets": {**chosen, **dict(inert.flatten(content) if content else ())},
    }


def _print(shown: dict[str, Any]) -> None:
    from hdx.config.validate import shown as text

    title = shown["name"] if shown["name"] == shown["group"] else f"{shown['group']}={shown['name']}"
    print(f"{title}: {shown['summary']}")
    print(f"source   {shown['source']}\ncommand  {shown['command']}\nfile     {shown['file']}")
    for title, fact in (("licence", "licence"), ("trains", "trains"), ("keeps", "keeps"), ("formula", "certainty")):
        if shown.get(fact):
            print(f"{title:<9}{shown[fact]}")
    if "sets" in shown:
        print("\nsets")
        for key, value in shown["sets"].items():
            print(f"  {key}={value if isinstance(value, str) else text(value)}")
    elif shown["options"]:
        print("\noptions")
        _print_options(shown["group"] if shown["name"] != shown["group"] else "", shown["options"])
    else:
        print("\nno options")


def _print_options(group: str, options: list[dict[str, Any]]) -> None:
    import textwrap

    from hdx.config.validate import shown as text

    for option in options:
        dotted = f"{group}.{option['name']}" if group else option["name"]
        default = "to be given" if option["required"] else f"default {text(option['default'])}"
        print(f"  {dotted}  ({option['type']}; {default})")
        if option["meaning"]:
            print(textwrap.fill(option["meaning"], 100, initial_indent=" " * 6, subsequent_indent=" " * 6))
