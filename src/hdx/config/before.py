"""Runs that a version of hdx made which named them by another rule: they keep their names, and are found where that is safe.

Their configs are there, so what they would be called today can be told; what their files held was not recorded. So a run that
reads a file of the user's, or code of others, is not taken for one of today.
"""

from __future__ import annotations

import logging
import re
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from hdx.config import identity
from hdx.config.config import Config
from hdx.config.validate import load_saved
from hdx.errors import HdxError

log = logging.getLogger("hdx")
_HEAD = re.compile(r"\Aexp: [^\n]*\ngroup: '?([0-9a-f]{8})'?\n(?!contents:)")


def as_before(config: Config) -> Config:
    """The config under the name that its group has on disk: an earlier one where its runs were made by an earlier rule."""
    folder = Path(config["output_dir"]).expanduser() / "runs" / config.exp
    if config.saved_hash or not folder.is_dir() or any(folder.glob(f"{config.group_hash}-s*")):
        return config
    group, safe = _groups(folder, folder.stat().st_mtime_ns).get(config.group_hash, ("", False))
    if group and not safe:
        log.warning(
            "runs %s/%s are of the same config, but what their files held was not recorded, so that they cannot be matched: "
            "%s is made anew",
            *(config.exp, group, config.run_id),
        )
    return replace(config, saved_hash=group) if safe else config


@lru_cache(maxsize=64)
def _groups(folder: Path, changed_ns: int) -> dict[str, tuple[str, bool]]:
    """Hash of today to `(hash of before, whether its runs are known by their config alone)`, of the runs of one preset."""
    found: dict[str, tuple[str, bool]] = {}
    files = {file.parent.name.partition("-s")[0]: file for file in sorted(folder.glob("*-s*/config.yaml"))}  # one a group
    for file in files.values():
        try:
            if (head := _HEAD.match(file.read_text(encoding="utf-8"))) is not None:
                saved = load_saved(file)
                found[identity.group_hash(saved.data, saved.taught)] = head[1], not _reads(saved)
        except (HdxError, OSError, UnicodeDecodeError):  # damaged, or of a config that is none any more
            continue
    return found


def _reads(config: Config) -> bool:
    """Whether the identity of a config has contents in it."""
    nodes = [node for node in identity.about(config.data, config.taught).values() if isinstance(node, dict)]
    if any("files" in node or "code" in node or "parts" in node for node in nodes):
        return True
    return config.teacher is not None and _reads(config.teacher)
