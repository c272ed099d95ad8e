"""Overrides and config files to one plain mapping, by Hydra's compose API; every problem is reported, all at once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx import registry
from hdx.config import files, inert, overrides, paths
from hdx.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.default_element import ResultDefault
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
    """

    data: dict[str, Any]
    choices: dict[str, str] = field(default_factory=dict)
    exp: str = "custom"
    sources: dict[str, str] = field(default_factory=dict)

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
    from hydra import compose as hydra_compose
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    choices = [_searchpath(folders), *(str(override.input_line) for override in plan.choices)]
    with _hydra(folders):
        loader = GlobalHydra.instance().config_loader()
        parts = loader.compute_defaults_list("config", choices, RunMode.RUN)
        sources, problems = _read_files(parts.defaults, folders)
        values = [text for override in plan.values if (text := _value(override, sources, problems))]
        config = hydra_compose("config", overrides=choices + values)
        known = parts.overrides.known_choices
    picked = {group: str(known[group]) for group in registry.components() if known.get(group) is not None}
    exp = "+".join(name.replace("/", "-") for name in plan.exp) or "custom"
    data, more = _plain(config, sources)
    return Composed(data, picked, exp, sources), problems + more


@contextmanager
def _hydra(folders: list[Path]) -> Iterator[None]:
    """Hydra on the packaged folder; what it, OmegaConf or YAML complain about becomes one line of advice."""
    import yaml
    from hydra import initialize_config_dir
    from hydra.errors import HydraException, MissingConfigException
    from omegaconf.errors import OmegaConfBaseException

    try:
        with initialize_config_dir(str(folders[0]), job_name="hdx", version_base="1.3"):
            yield
    except MissingConfigException as error:
        group, _, name = str(error.missing_cfg_file or "").removesuffix(".yaml").strip("/").rpartition("/")
        raise ConfigError(overrides.unknown_name(group, name, folders) if group else _line(error)) from None
    except yaml.YAMLError as error:
        raise ConfigError(_yaml_line(error)) from None
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_line(error)) from None


def _searchpath(folders: list[Path]) -> str:
    return f"hydra.searchpath={json.dumps([f'file://{folder}' for folder in folders[1:]], ensure_ascii=False)}"


def _read_files(parts: list[ResultDefault], folders: list[Path]) -> tuple[dict[str, str], list[str]]:
    """Where every key was set, in the order in which Hydra merges the files, and what the files may not contain."""
    sources: dict[str, str] = {}
    problems = []
    for part in parts:
        group, _, name = (part.config_path or "").rpartition("/")
        found = files.paths_of(group, name, folders)
        if not found or group.startswith("hydra"):
            continue
        if group and len(found) > 1:
            problems += _shadowed(group, name, found)
        content = read_plain(found[0])
        named = paths.label(found[0])
        problems += [f"{key}: {why}  (set in: {named})" for key, why in inert.offences(content.pop("defaults", None), "defaults")]
        for key, _ in inert.flatten(content, part.package or "") if content else ():
            sources.pop(key, None)
            sources[key] = named
    return sources, problems


def _shadowed(group: str, name: str, found: list[Path]) -> list[str]:
    """A user's file with a packaged name would be ignored without a word."""
    return [
        f"{paths.label(other)} has the name of {paths.label(found[0])} and would be ignored: give it another name"
        for other in found[1:]
        if other.read_bytes() != found[0].read_bytes()
    ]


def read_plain(file: Path) -> dict[str, Any]:
    """The mapping in one file, uncomposed; empty for a file that holds no mapping."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    return content if isinstance(content, dict) else {}


def _value(override: Override, sources: dict[str, str], problems: list[str]) -> str | None:
    """The override for Hydra, with `++` so that unknown keys pass and are judged by the schema, all together."""
    key, text = override.key_or_group, str(override.input_line)
    exists = [name for name in sources if name == key or name.startswith(f"{key}.")]
    if override.is_delete():
        if not exists:
            problems.append(f"'{text}': {key} is not in the config.{registry.did_you_mean(key, list(sources))}")
            return None
        for name in exists:
            del sources[name]
        return text
    if override.is_add() and exists:
        problems.append(f"'{text}': {key} already has a value; write {text.lstrip('+')} to change it")
        return None
    for name in exists:
        del sources[name]
    sources.update({name: COMMAND_LINE for name, _ in inert.flatten(override.value(), key)})
    return f"++{text.lstrip('+')}"


def _plain(config: DictConfig, sources: dict[str, str]) -> tuple[dict[str, Any], list[str]]:
    """Plain data with interpolations resolved, unless there is one that may not be."""
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    raw = OmegaConf.to_container(config, resolve=False)
    places = Composed({}, sources=sources)
    problems = [f"{key}: {why}  (set in: {places.where(key) or 'a config file'})" for key, why in inert.offences(raw)]
    if problems:
        return dict(raw), problems  # type: ignore[arg-type]
    try:
        return dict(OmegaConf.to_container(config, resolve=True)), []  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        return dict(raw), [_line(error)]  # type: ignore[arg-type]


def _line(error: Exception) -> str:
    return " ".join(str(error).split())


def _yaml_line(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    place = f"{mark.name}:{mark.line + 1}: " if mark else ""
    return f"{place}{getattr(error, 'problem', None) or _line(error)}; a config is plain YAML, without tags"
