"""Where config files are: the packaged folder, those of plugins, the user's `./conf`, and folders given with `-cd`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx import plugins
from hdx.config.files import packaged
from hdx.errors import ConfigError

if TYPE_CHECKING:
    from hdx.config.config import Config


def config_dirs(extra: Sequence[Path | str] = ()) -> list[Path]:
    """Absolute config folders in order of search: packaged, those of plugins, `./conf` if it exists, each of `extra`.

    Raises: ConfigError naming every folder of `extra` that does not exist.
    """
    folders = [packaged(), *plugins.conf_folders()]
    candidates = [Path(path) for path in extra]
    missing = [path for path in candidates if not path.is_dir()]
    if missing:
        raise ConfigError([f"config folder {path} does not exist (given with -cd)" for path in missing])
    if Path("conf").is_dir():
        candidates.insert(0, Path("conf"))
    for path in candidates:
        if path.resolve() not in folders:
            folders.append(path.resolve())
    return folders


def data_folder(data_dir: str | None) -> Path | None:
    """The folder of datasets: `data_dir`, else $HDX_DATA, else ./data where it exists."""
    chosen = data_dir or os.environ.get("HDX_DATA") or ("data" if Path("data").is_dir() else None)
    return Path(chosen).expanduser() if chosen else None


def located(path: str, data_dir: str | None) -> str:
    """A path as it is given where that exists, else the one below the folder of datasets where that exists, else as given."""
    if not Path(path).expanduser().exists() and (folder := data_folder(data_dir)) is not None and (folder / path).exists():
        return str(folder / path)
    return path


def absolute_in(config: Config) -> Config:
    """The config with every path absolute, so that a run means the same from any folder; its identity stays."""
    from hdx import registry

    changed: dict[str, Any] = {key: _absolute(config[key]) for key in ("output_dir", "data_dir")}
    for group in registry.groups():
        if (node := _absolute_node(group, config[group], config["data_dir"])) != config[group]:
            changed[group] = node
    teacher = config["teacher"]
    if teacher.get("run") and (Path(teacher["run"]) / "config.yaml").exists():  # else it is an id
        changed["teacher"] = {**teacher, "run": _absolute(teacher["run"])}
    if teacher.get("overrides"):
        changed["teacher"] = {**teacher, "overrides": [_absolute_word(word, config) for word in teacher["overrides"]]}
    return config.replace(**changed)


def _absolute_word(word: str, config: Config) -> str:
    """An override that names a file that is there, with its absolute path; any other as it is."""
    key, _, value = word.partition("=")
    path = located(value, config["data_dir"])
    if not value or not Path(path).expanduser().exists() or not _names_a_file(*key.lstrip("+").partition(".")[::2]):
        return word
    return f"{key}={_absolute(path)}"


def _names_a_file(group: str, name: str) -> bool:
    """Whether any component of a group has an option of that name which is marked as a path."""
    from hdx import registry
    from hdx.config import schema

    if not name or group not in registry.groups():
        return False
    options = [schema.describe(group, each).option(name) for each in registry.names(group)]
    return any("file" in option.marks for option in options if option is not None)


def _absolute_node(group: str, node: dict[str, Any], data_dir: str | None) -> dict[str, Any]:
    """A component's node with every path in it absolute, and in those of the components that it is made of."""
    from hdx.config import schema

    info = schema.describe(group, node["name"])
    named = [option.name for option in info.options if "file" in option.marks]
    found = node | {option: _all_absolute(node[option], data_dir) for option in named if node.get(option)}
    made_of = [option for option in info.facts.get("parts", ()) if isinstance(node.get(option), dict)]
    return found | {option: _absolute_node(group, node[option], data_dir) for option in made_of}


def _all_absolute(value: str | list[str], data_dir: str | None) -> str | list[str]:
    if isinstance(value, list):
        return [_where(path, data_dir) for path in value]
    return _where(value, data_dir)


def _where(path: str, data_dir: str | None) -> str:
    """The absolute path of what is there; what is not may be meant to lie inside the data, and stays as it is."""
    found = Path(located(path, data_dir)).expanduser()
    return str(found.resolve()) if found.exists() else path


def _absolute(path: str | None) -> str | None:
    return str(Path(path).expanduser().resolve()) if path else path


def label(file: Path) -> str:
    """How messages name a config file: `conf/…` for a packaged one, else relative to here where that is shorter."""
    home = packaged()
    if file.is_relative_to(home):
        return str("conf" / file.relative_to(home))
    here = Path.cwd().resolve()
    return f"./{file.relative_to(here)}" if file.is_relative_to(here) else str(file)
