"""Config files by group and name, and what the comment header of each says."""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hdx.errors import ConfigError

Stamp = tuple[int, int]  # of a file: time of its last change in ns, and size

PLAIN = ("exp", "sweep", "table")  # folders of presets, which name no component
HYDRAS = ("hydra",)


_plain: dict[Path, tuple[Stamp | None, dict[str, Any]]] = {}


@dataclass(frozen=True)
class Header:
    """First comment lines of a config file: what it is, where it comes from, the command that uses it."""

    summary: str
    source: str
    command: str


@cache
def packaged() -> Path:
    """The folder that ships with hdx: `hdx/conf` in a wheel, `conf/` of the repository in an editable install."""
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "conf", package.parents[1] / "conf"):
        if (folder / "config.yaml").is_file():
            return folder
    raise ConfigError(f"the packaged conf folder is missing beside {package}: install hdx again")


def groups(folders: Sequence[Path]) -> list[str]:
    """Names of the folders that hold config files, in every config folder."""
    return sorted({child.name for folder in folders for child in folder.iterdir() if child.is_dir() and _stems(child)})


def names(group: str, folders: Sequence[Path]) -> list[str]:
    """Names that `group=NAME` accepts; a file in a subfolder is `sub/name`."""
    return sorted({stem for folder in folders for stem in _stems(folder / group)})


def named(word: str, folders: Sequence[Path]) -> tuple[list[tuple[str, str]], list[tuple[str, str]]]:
    """`(group, name)` of everything that is called so, and of what has the word as a part of its name (`wa`: cil_wa)."""
    everything = [(group, name) for group in groups(folders) if group not in HYDRAS for name in names(group, folders)]
    exact = [(group, name) for group, name in everything if name == word]
    return exact, [place for place in everything if place not in exact and word in re.split(r"[_/.-]", place[1])]


def chosen(group: str, name: str) -> str:
    """How a config file is chosen: `method=wa`, `+exp=cil_wa`, `hdx table first_session`."""
    return {"exp": f"+exp={name}", "sweep": f"+sweep={name}", "table": f"hdx table {name}"}.get(group, f"{group}={name}")


def command(group: str, name: str) -> str:
    """The command that uses a config file."""
    word = chosen(group, name)
    return word if group == "table" else f"hdx {'sweep' if group in ('sweep', 'launcher') else 'train'} {word}"


def path(group: str, name: str, folders: Sequence[Path]) -> Path | None:
    """The file behind `group=name`: the first one in order of search."""
    return next(iter(paths_of(group, name, folders)), None)


def paths_of(group: str, name: str, folders: Sequence[Path]) -> list[Path]:
    """Every file of that name, in order of search; more than one means that a user's file is hidden."""
    return [file for file in places(group, name, folders) if file.is_file()]


def places(group: str, name: str, folders: Sequence[Path]) -> list[Path]:
    """Where a file of that name would be, in order of search."""
    return [folder / group / f"{name.removesuffix('.yaml')}.yaml" for folder in folders]


def stamp(file: Path) -> Stamp | None:
    """What changes with the file; None where there is none."""
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def read_plain(file: Path) -> dict[str, Any]:
    """The mapping in one file, uncomposed; empty for a file that holds no mapping."""
    now = stamp(file)
    known, content = _plain.get(file, (None, {}))
    if now is None or known != now:
        content = _read(file)
        _plain[file] = now, content
    return copy.deepcopy(content)


def _read(file: Path) -> dict[str, Any]:
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    content = yaml.load(file.read_text(encoding="utf-8"), Loader=loader)
    return content if isinstance(content, dict) else {}


def header(file: Path) -> Header:
    """Read the header; parts that are not there are empty strings."""
    lines = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        if not re.match(r"#\s*@package\b", line):
            lines.append(line.lstrip("#").strip())
    source = next((line for line in lines if line.lower().startswith("source:")), "")
    command = next((line for line in lines if line.startswith("hdx ")), "")
    summary = lines[0] if lines and lines[0] not in (source, command) else ""
    return Header(summary, source[len("source:") :].strip(), command)


def is_global(file: Path) -> bool:
    """Whether a preset says that its keys stand at the top of the config, and not under the name of its group."""
    return bool(re.search(r"^#\s*@package\s+_global_\s*$", file.read_text(encoding="utf-8", errors="replace"), re.MULTILINE))


def _stems(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [file.relative_to(folder).with_suffix("").as_posix() for file in folder.rglob("*.yaml")]
