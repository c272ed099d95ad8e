"""What a choice of presets and parts comes to before values are set: the files of Hydra's defaults list, merged in its order.

Hydra makes the list, from files that are parsed once for as long as they stay as they are; so is what the files come to.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra import version
from hydra._internal.config_repository import ConfigRepository
from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.defaults_list import create_defaults_list
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from hdx import plugins
from hdx.config import files, inert, paths

if TYPE_CHECKING:
    from hydra.plugins.config_source import ConfigResult

KEPT = 256  # choices; after so many it starts over

_parsed: dict[Path, tuple[files.Stamp | None, ConfigResult]] = {}
_chosen: dict[tuple[Any, ...], tuple[dict[Path, files.Stamp | None], Chosen]] = {}


@dataclass(frozen=True)
class Chosen:
    """The merged files; nobody may change it.

    Attributes:
        config: interpolations not resolved.
        choices: group to the name of the chosen config file.
        sources: dotted key to the file that set it.
        problems: what the files may not contain, a line each.
    """

    config: DictConfig
    choices: dict[str, str]
    sources: dict[str, str]
    problems: tuple[str, ...]


def choose(words: Sequence[str], folders: Sequence[Path]) -> Chosen:
    """What `words` (`group=name`, `+exp=[name]`) choose from `folders`. Raises: what Hydra, OmegaConf and YAML raise."""
    key = (*words, *folders, Path.cwd() if len(folders) > 1 else None)  # a user's files are named as seen from here
    stamps, found = _chosen.get(key, ({}, None))
    if found is None or any(files.stamp(file) != stamp for file, stamp in stamps.items()):
        if len(_chosen) >= KEPT:
            _chosen.clear()
        stamps, found = _choose(words, folders)
        _chosen[key] = stamps, found
    return found


def _choose(words: Sequence[str], folders: Sequence[Path]) -> tuple[dict[Path, files.Stamp | None], Chosen]:
    """The outcome, and the state of every file that has a say in it, were it there."""
    version.setbase("1.3")
    repository = _Repository(folders)
    overrides = OverridesParser.create().parse_overrides(list(words))
    parts = create_defaults_list(repository, "config", overrides, prepend_hydra=False, skip_missing=False)
    config, stamps = OmegaConf.create(), dict[Path, "files.Stamp | None"]()
    sources, problems = dict[str, str](), list[str]()
    for part in parts.defaults:
        group, _, name = (part.config_path or "").rpartition("/")
        places = files.places(group, name, folders)
        stamps |= {file: files.stamp(file) for file in places}
        found = [file for file in places if stamps[file]]
        problems += _shadowed(found) if group else []
        config.merge_with(_placed(repository.load_config(part.config_path or "").config, part.package))
        content, named = files.read_plain(found[0]), paths.label(found[0])
        problems += [f"{key}: {why}  (set in: {named})" for key, why in inert.offences(content.pop("defaults", None), "defaults")]
        for key, _ in inert.flatten(content, part.package or "") if content else ():
            sources.pop(key, None)
            sources[key] = named
    choices = {group: str(name) for group, name in parts.overrides.known_choices.items() if name is not None}
    return stamps, Chosen(config, choices, sources, tuple(problems))


def _placed(config: Any, package: str | None) -> Any:
    for name in reversed(package.split(".") if package else []):
        config = OmegaConf.create({name: config})
    return config


def _shadowed(found: Sequence[Path]) -> list[str]:
    """A user's file with a packaged name would be ignored without a word; what is wrong with a plugin is said elsewhere."""
    others = plugins.conf_folders()
    return [
        f"{paths.label(other)} has the name of {paths.label(found[0])} and would be ignored: give it another name"
        for other in found[1:]
        if not any(other.is_relative_to(folder) for folder in others) and other.read_bytes() != found[0].read_bytes()
    ]


class _Repository(ConfigRepository):
    """Hydra's view of the folders, without its own settings."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders, self.sources = folders, [FileConfigSource("hdx", str(folder)) for folder in folders]

    def load_config(self, config_path: str) -> Any:
        """As Hydra's, with a file that did not change parsed once. The caller may change what it gets."""
        group, _, name = config_path.rpartition("/")
        file = files.path(group, name, self.folders)
        if file is None:
            return None
        now, (stamp, found) = files.stamp(file), _parsed.get(file, (None, None))
        if found is None or stamp != now:
            found = super().load_config(config_path)
            assert found is not None
            _parsed[file] = now, found
        return copy.deepcopy(found)
