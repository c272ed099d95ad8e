"""What a run reads, by content: recorded with the run when it begins, and compared whenever it goes on. No torch."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from hdx import content, digest, registry
from hdx.config import code, contents, teacher
from hdx.errors import DataError

if TYPE_CHECKING:
    from hdx.config.config import Config

log = logging.getLogger("hdx")
SHOWN = 12  # digits of a digest in a message


def found(data: dict[str, Any]) -> dict[str, str]:
    """Digest of everything that a config reads and that is there, by what messages call it: `dataset.path (photos.zip)`."""
    known: dict[str, str] = {}
    for group in registry.groups():
        if group in data:
            known |= dict(_of_node(group, data[group], data.get("data_dir"), group))
            known |= {f"{group}.run: its {folder.name}": content.of(folder) for folder in teacher.left(data, group)}
    return known


def _of_node(group: str, node: dict[str, Any], data_dir: str | None, key: str) -> Iterator[tuple[str, str]]:
    for read in contents.reads(group, node, data_dir):
        if (held := read.digest) is not None:
            yield f"{key}.{read.option} ({read.name})", held
    for option, part in contents.parts(group, node):
        yield from _of_node(group, part, data_dir, f"{key}.{option}")
    if foreign := code.of(group, node["name"]):
        yield f"code of {group}={node['name']}", digest.of_json(foreign)


def refuse_changed(began: dict[str, str], now: dict[str, str], run_id: str) -> None:
    """Raises: DataError naming what changed since a run began, with the two digests; what is gone is for others to say."""
    before, after = _by_option(began), _by_option(now)
    lines = [
        f"{after[key][0]}: {before[key][1][:SHOWN]}… then, {after[key][1][:SHOWN]}… now"
        for key in before
        if key in after and before[key][1] != after[key][1]
    ]
    if lines:
        raise DataError(
            f"run {run_id} began with other contents. {'; '.join(lines)}. Bring back what it began with to go on, "
            "or make another run of what is there now:  hdx train …"
        )


def _by_option(known: dict[str, str]) -> dict[str, tuple[str, str]]:
    """Without the names of files: a moved or renamed one is the same."""
    return {label.partition(" (")[0]: (label, held) for label, held in known.items()}


def check(config: Config) -> None:
    """That what a saved config reads is what its run began with. Raises: DataError."""
    if config.contents:
        refuse_changed(config.contents, found(config.data), config.run_id)
