"""Named grids: `conf/sweep/NAME.yaml` as the overrides that `hdx sweep` would take instead."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hdx import registry
from hdx.config import files, paths
from hdx.config.files import read_plain
from hdx.errors import ConfigError

KEYS = ("exp", "grid", "set")
_NAMED = re.compile(r"^\+{0,2}sweep=(.*)$")
_PLAIN_WORD = re.compile(r"^[A-Za-z_][\w./-]*$")


def unfold(arguments: Sequence[str], folders: Sequence[Path]) -> tuple[list[str], str]:
    """Overrides with `+sweep=NAME` replaced by what that file says; an override given with it holds instead of the file's.

    Returns: the overrides, and the name (empty without one). Raises: ConfigError naming what is wrong with the file.
    """
    names = [found[1] for text in arguments if (found := _NAMED.match(text))]
    rest = [text for text in arguments if not _NAMED.match(text)]
    if not names:
        return rest, ""
    if len(names) > 1 or "," in names[0]:
        raise ConfigError(f"sweep: expected the name of one grid, got {', '.join(names)}; run hdx sweep once for each")
    given = {key_of(text) for text in rest}
    return [text for text in read(names[0], folders) if key_of(text) not in given] + rest, names[0]


def key_of(text: str) -> str:
    """The key of an override, without what stands before and after it: `exp` of `+exp=a,b`."""
    return text.partition("=")[0].lstrip("+~")


def read(name: str, folders: Sequence[Path]) -> list[str]:
    """The overrides of a named grid. Raises: ConfigError when there is no such file, or it is no grid."""
    file = files.path("sweep", name, folders)
    if file is None:
        raise ConfigError(
            f"sweep '{name}' is unknown.{registry.did_you_mean(name, files.names('sweep', folders))}  (hdx list sweep)"
        )
    content, where = read_plain(file), paths.label(file)
    problems = [
        f"{where}: '{key}' is unknown.{registry.did_you_mean(str(key), list(KEYS))}" for key in content if key not in KEYS
    ]
    for key in ("grid", "set"):
        if not isinstance(content.get(key, {}), dict):
            problems.append(f"{where}: {key}: expected a mapping of overrides, got {json.dumps(content[key])}")
    grid = content.get("grid", {})
    empty = [key for key, value in grid.items() if value == []] if isinstance(grid, dict) else []
    problems += [f"{where}: grid: {key} has no values; expected a list of them, or range(5)" for key in empty]
    if problems:
        raise ConfigError(problems)
    words = [f"+exp={_choice(content['exp'])}"] if "exp" in content else []
    words += [f"{_key(key)}={_alternatives(value)}" for key, value in grid.items()]
    return words + [f"{_key(key)}={text_of(value)}" for key, value in content.get("set", {}).items()]


def _key(key: Any) -> str:
    return "+exp" if key in ("exp", "+exp") else str(key)


def _choice(value: Any) -> str:
    """What stands after `exp:`, as after `+exp=` on the command line: a list is several presets laid over each other."""
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)


def _alternatives(value: Any) -> str:
    """A list holds the alternatives; a string is in the grammar of the command line: `range(5)`, `a,b`, `glob(*)`."""
    if isinstance(value, list):
        return ",".join(text_of(item) for item in value)
    return value if isinstance(value, str) else text_of(value)


def text_of(value: Any) -> str:
    """A plain value in Hydra's grammar, such that it reads back as the same value."""
    if isinstance(value, list):
        return f"[{','.join(text_of(item) for item in value)}]"
    if isinstance(value, dict):
        return f"{{{','.join(f'{key}:{text_of(item)}' for key, item in value.items())}}}"
    if isinstance(value, str):
        if _PLAIN_WORD.match(value) and value.lower() not in ("null", "true", "false", "nan", "inf"):
            return value
        return "'" + value.replace("\\'", "\\\\'").replace("'", "\\'") + "'"
    return json.dumps(value)
