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
    from hdx.config.identity import PATHS

    changed: dict[str, Any] = {key: _absolute(config[key]) for key in ("output_dir", "data_dir")}
    for group, option in PATHS:
        node = changed.get(group, config[group])
        if node.get(option):
            changed[group] = {**node, option: _absolute(located(node[option], config["data_dir"]))}
    teacher = config["teacher"]
    if teacher.get("run") and (Path(teacher["run"]) / "config.yaml").exists():  # else it is an id
        changed["teacher"] = {**teacher, "run": _absolute(teacher["run"])}
    if teacher.get("overrides"):
        changed["teacher"] = {**teacher, "overrides": [_absolute_word(word, config) for word in teacher["overrides"]]}
    return config.replace(**changed)


def _absolute_word(word: str, config: Config) -> str:
    """An override that names a file that is there, with its absolute path; any other as it is."""
    from hdx.config.identity import PATHS

    key, given, value = word.partition("=")
    if not given or tuple(key.lstrip("+").split(".")) not in PATHS:
        return word
    path = located(value, config["data_dir"])
    return f"{key}={_absolute(path)}" if Path(path).expanduser().exists() else word


def _absolute(path: str | None) -> str | None:
    return str(Path(path).expanduser().resolve()) if path else path


def label(file: Path) -> str:
    """How messages name a config file: `conf/…` for a packaged one, else relative to here where that is shorter."""
    home = packaged()
    if file.is_relative_to(home):
        return str("conf" / file.relative_to(home))
    here = Path.cwd().resolve()
    return f"./{file.relative_to(here)}" if file.is_relative_to(here) else str(file)
