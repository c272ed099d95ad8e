"""Overrides of the command line, parsed with Hydra's grammar and checked word by word before anything is composed."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import starmap
from pathlib import Path
from typing import TYPE_CHECKING

from hdx import registry
from hdx.config import files, paths, quoting, schema
from hdx.config.inert import KEY_ADVICE, is_directive

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override


@dataclass
class Plan:
    """Overrides sorted by what they do, and what is wrong with the others.

    Attributes:
        choices: for Hydra's defaults list: `group=name`, `+exp=name`, `~group`.
        values: `key=value`, `+key=value`, `++key=value`, `~key`, in the order given.
        exp: names of the presets, in order.
        problems: one line each.
        unsure: keys whose value is wrong, so that its absence is none; and groups whose choice is wrong and resembles nothing, so
            that their options cannot be judged.
    """

    choices: list[Override] = field(default_factory=list)
    values: list[Override] = field(default_factory=list)
    exp: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    unsure: set[str] = field(default_factory=set)


def plan(overrides: Sequence[str], folders: Sequence[Path]) -> Plan:
    """Parse and check every override; nothing is raised, so that all problems are reported together."""
    result = Plan()
    words, result.problems = quoting.split(overrides)
    result.unsure |= {_key(text) for text in overrides if text not in words}
    for text in words:
        if text.startswith("exp="):
            text = f"+{text}"
        override = quoting.parsed(text)
        if override is None:
            result.problems.append(_bare(text, folders) or quoting.advice(text))
            result.unsure.add(_key(text))
            continue
        problem = _sort(override, result, folders)
        if problem:
            result.problems.append(problem)
            result.unsure.add(override.key_or_group)
    return result


def _sort(override: Override, result: Plan, folders: Sequence[Path]) -> str | None:
    """Put an override in its place, or say what is wrong with it."""
    key, groups = override.key_or_group, registry.groups()
    head, _, rest = key.partition(".")
    if any(is_directive(part) for part in key.split(".")):
        return f"{key}: {KEY_ADVICE}  (set in: command line)"
    if override.package is not None:
        return f"'{override.input_line}': a group cannot be moved to another package; write {key}=NAME"
    if override.is_sweep_override():
        return _grid(override)
    if head == "hydra" or key.startswith("hydra/"):
        return f"'{key}' is a setting of Hydra's own, which hdx does not use; folders are set with output_dir"
    if key in groups or key == "exp":
        return _sort_choice(override, result, folders)
    if rest and head in groups or not rest and schema.run_options().option(key):
        result.values.append(override)
        return None
    return _unknown(key, groups)


def _bare(text: str, folders: Sequence[Path]) -> str | None:
    """The line for a name without a group, where there is one of that name."""
    places = [] if "=" in text else files.named(text, folders)[0]
    if not places:
        return None
    return f"'{text}' is no override: expected key=value. Did you mean {' or '.join(starmap(files.chosen, places))}?"


def _key(text: str) -> str:
    return text.partition("=")[0].strip().lstrip("+~")


def _grid(override: Override) -> str:
    text = str(override.input_line)
    key, _, value = text.partition("=")
    one = quoting.quoted(key, value) if "." in key and "(" not in value else None
    if one and ("/" in value or "\\" in value or Path(value).exists()):
        return f"'{text}' has a comma, which separates the values of a grid, and this is one run: one path is written {one}"
    also = f"; one value with a comma is {one}" if one else ""
    return f"'{text}' is a grid, and this is one run: give one value (a list is [a,b]{also}), or use hdx sweep"


def _sort_choice(override: Override, result: Plan, folders: Sequence[Path]) -> str | None:
    group, value = override.key_or_group, override.value()
    if any(other.key_or_group == group for other in result.choices):
        return f"{group} is given twice; the second time as '{override.input_line}'"
    chosen = value if isinstance(value, list) and group == "exp" else [value]
    if override.is_delete() and group != "exp":
        return f"'{override.input_line}': a run needs a {group}; choose one with {group}=NAME  (hdx list {group})"
    if (override.is_add() or override.is_force_add()) and group != "exp":
        return f"'{override.input_line}': {group} is already in the defaults; write {group}=NAME without +"
    if not all(isinstance(name, (str, int)) for name in chosen):
        return f"'{override.input_line}': expected the name of a config: {group}=NAME  (hdx list {group})"
    wrong = [str(name) for name in chosen if files.path(group, str(name), folders) is None]
    result.problems.extend(unknown_name(group, name, folders) for name in wrong)
    names = [name for name in (nearest(group, str(name), folders) for name in chosen) if name]
    if group == "exp":
        nested = [name for name in names if (file := files.path("exp", name, folders)) and not files.is_global(file)]
        if nested:
            result.problems += [_not_global(name, folders) for name in nested]
            return None
        result.exp = names
        result.choices += [_retarget(override, f"+exp=[{','.join(names)}]")] if names else []
    elif names:
        result.choices.append(_retarget(override, f"{group}={names[0]}"))
    else:
        result.unsure.add(group)
    return None


def _not_global(name: str, folders: Sequence[Path]) -> str:
    label = paths.label(files.paths_of("exp", name, folders)[0])
    return f"+exp={name}: {label} lacks the line '# @package _global_' at its top, which puts its keys where hdx looks for them"


def _retarget(override: Override, text: str) -> Override:
    return replace(override, input_line=text)


def nearest(group: str, name: str, folders: Sequence[Path]) -> str | None:
    """The name itself, or the one it resembles, so that the options given with a misspelt name are judged as well."""
    if files.path(group, name, folders):
        return name.removesuffix(".yaml")
    return next(iter(difflib.get_close_matches(name, files.names(group, folders), n=1, cutoff=0.5)), None)


def unknown_name(group: str, name: str, folders: Sequence[Path]) -> str:
    """The line that says that a group has no such config file."""
    if registry.known(group, name):
        return f"{group} '{name}' is registered but has no file {group}/{name}.yaml in {', '.join(map(str, folders))}"
    return f"{group} '{name}' is unknown.{registry.did_you_mean(name, files.names(group, folders))}  (hdx list {group})"


def _unknown(key: str, groups: list[str]) -> str:
    head, _, rest = key.partition(".")
    known = [*groups, "exp", *(option.name for option in schema.run_options().options)]
    if rest:
        known = [f"{group}.{rest}" for group in groups]
    elif "/" in key and key.partition("/")[0] in groups:
        return f"'{key}' is unknown: options are written with a dot. Did you mean '{key.replace('/', '.')}'?"
    elif head in groups or schema.run_options().option(head):
        return f"'{key}' is unknown: '{head}' has no parts"
    return f"'{key}' is unknown.{registry.did_you_mean(key, known)}  (groups: hdx list; all keys: hdx config)"
