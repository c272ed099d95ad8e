"""Overrides and config files to one plain mapping, by Hydra's compose API; every problem is reported, all at once."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from os import environ
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx import registry
from hdx.config import inert, overrides, paths, preset
from hdx.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

COMMAND_LINE = "command line"


@dataclass(frozen=True)
class Composed:
    """What a command asks for, before it is checked against the schema.

    Attributes:
        data: plain mappings, lists and scalars, with interpolations resolved.
        choices: group to the name of the chosen config file.
        exp: name of the preset, several joined with `+`, or `custom`.
        sources: dotted key to where its value was set: a config file or `command line`.
        preset: group to the name that the preset chooses in it (`hdx.config.preset`).
    """

    data: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)
    exp: str = "custom"
    sources: dict[str, str] = field(default_factory=dict)
    preset: dict[str, str] = field(default_factory=dict)

    @property
    def exchanged(self) -> dict[str, str]:
        """The parts of the preset that something else stands in the place of."""
        return preset.exchanged(self.preset, self.choices)

    def where(self, key: str) -> str:
        """Where a key, or the first of the keys under it, was set; an empty string when that is not known."""
        if key in self.sources:
            return self.sources[key]
        return next((place for name, place in self.sources.items() if name.startswith(f"{key}.")), "")


def compose(arguments: Sequence[str] = (), config_dirs: Sequence[Path | str] = ()) -> Composed:
    """Compose overrides over the packaged config, `./conf` and `config_dirs`.

    Raises: ConfigError with one line for each misspelt group, name or key, each grammar error and each directive.
    """
    composed, problems, _ = attempt(arguments, config_dirs)
    if composed is None or problems:
        raise ConfigError(problems)
    return composed


def attempt(arguments: Sequence[str], config_dirs: Sequence[Path | str] = ()) -> tuple[Composed | None, list[str], set[str]]:
    """As `compose`, but wrong overrides are left out and reported, so that validation can go on with the rest.

    Returns: what could be composed (None when nothing could), the problems, and the groups whose choice is wrong.
    """
    folders = paths.config_dirs(config_dirs)
    plan = overrides.plan(arguments, folders)
    try:
        composed, problems = _compose(plan, folders)
    except ConfigError as error:
        return None, plan.problems + error.problems, plan.unsure
    return composed, plan.problems + problems, plan.unsure


def _compose(plan: overrides.Plan, folders: list[Path]) -> tuple[Composed, list[str]]:
    with _advised(folders):
        from hdx.config.chosen import choose

        chosen = choose([str(override.input_line) for override in plan.choices], folders)
        config, sources, problems = copy.deepcopy(chosen.config), dict(chosen.sources), list(chosen.problems)
        for override in plan.values:
            _set(override, config, sources, problems)
    picked = {group: chosen.choices[group] for group in registry.groups() if group in chosen.choices}
    exp = "+".join(name.replace("/", "-") for name in plan.exp) or "custom"
    data, more = _plain(config, sources)
    return Composed(data, picked, exp, sources, preset.parts_of(plan.exp, folders)), problems + more


@contextmanager
def _advised(folders: list[Path]) -> Iterator[None]:
    """What Hydra, OmegaConf or YAML complain about becomes one line of advice."""
    import yaml
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        yield
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file or "").removesuffix(".yaml").strip("/").rpartition("/")
        raise ConfigError(overrides.unknown_name(group, name, folders) if group else _line(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_line(error)) from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_line(error)) from None


def _set(override: Override, config: DictConfig, sources: dict[str, str], problems: list[str]) -> None:
    """Set a value, or take it out. Unknown keys pass, so that the schema judges them all together."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    key, text, value = override.key_or_group, str(override.input_line), override.value()
    exists = [name for name in sources if name == key or name.startswith(f"{key}.")]
    if override.is_delete() and not exists:
        problems.append(f"'{text}': {key} is not in the config.{registry.did_you_mean(key, list(sources))}")
        return
    if override.is_add() and exists:
        problems.append(f"'{text}': {key} already has a value; write {text.lstrip('+')} to change it")
        return
    if override.is_delete() and value is not None and value != OmegaConf.select(config, key):
        problems.append(f"'{text}': {key} has another value; write ~{key} to take it out whatever it is")
        return
    for name in exists:
        del sources[name]
    if override.is_delete():
        node, _, last = key.rpartition(".")
        del (OmegaConf.select(config, node) if node else config)[last]
        return
    sources.update({name: COMMAND_LINE for name, _ in inert.flatten(value, key)})
    try:
        OmegaConf.update(config, key, value, merge=True, force_add=True)
    except OmegaConfBaseException as error:
        problems.append(f"'{text}': {_line(error)}")


def _plain(config: DictConfig, sources: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Plain data with interpolations resolved, unless there is one that may not be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import InterpolationKeyError, OmegaConfBaseException

    raw = OmegaConf.to_container(config, resolve=False)
    places = Composed({}, sources=sources)
    problems = [f"{key}: {why}  (set in: {places.where(key) or 'a config file'})" for key, why in inert.offences(raw)]
    if problems:
        return dict(raw), problems  # type: ignore[arg-type]
    try:
        return dict(OmegaConf.to_container(config, resolve=True)), []  # type: ignore[arg-type]
    except InterpolationKeyError as error:
        return dict(raw), [_interpolation(error)]  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        return dict(raw), [_line(error)]  # type: ignore[arg-type]


def _interpolation(error: Any) -> str:
    """The line for `${name}` of a key that is not in the config; a shell's variable is often what was meant."""
    name = str(error).partition("'")[2].partition("'")[0]
    shell = (
        "; a variable of the shell is put in by the shell: write the word in double quotes, or without" if name in environ else ""
    )
    return f"{error.full_key}: ${{{name}}} refers to a key that is not in the config{shell}"


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _yaml_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}:{mark.line + 1}: " if mark else ""
    return f"{place}{getattr(error, 'problem', None) or _line(error)}; a config is plain YAML, without tags"
