"""The identity of a group of runs: a hash of what decides its results, and of nothing else."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

#: Keys that change where, on what and with which witnesses a run is done. The seed tells the runs of a group apart.
UNHASHED = ("seed", "data_dir", "output_dir", "devices", "nodes", "accelerator", "threads", "workers", "tracker", "launcher")
#: Options of a group that say how something is kept or fetched, and change nothing that is measured.
UNHASHED_OPTIONS = (
    ("trainer", "checkpoint_seconds"),
    ("dataset", "storage"),
    ("dataset", "memory_gb"),
    ("dataset", "download"),
)
#: Options that name a file or a folder: the same one has another path on another machine.
PATHS = (("dataset", "path"), ("backbone", "checkpoint"))
_EDGE = 1 << 16


def group_hash(data: dict[str, Any]) -> str:
    """Eight hex digits of the resolved config without `UNHASHED` and `UNHASHED_OPTIONS`; `PATHS` enter by `fingerprint`."""
    from hdx import digest

    kept = copy.deepcopy({key: value for key, value in data.items() if key not in UNHASHED})
    for group, option in UNHASHED_OPTIONS:
        if isinstance(kept.get(group), dict):
            kept[group].pop(option, None)
    for group, option in PATHS:
        node = kept.get(group)
        if isinstance(node, dict) and isinstance(node.get(option), str):
            node[option] = fingerprint(node[option])
    return digest.of_json(kept)[:8]


def fingerprint(path: str) -> str:
    """Base name of a file or folder, with a digest of what it holds when it is there.

    Two files of one name in different folders get different fingerprints, and a file that was moved keeps its own. Of
    a file its size, first and last 64 KiB are read (a zip keeps the checksums of its members at the end); of a folder
    the names in it.
    """
    found = Path(path).expanduser()
    if not found.exists():
        return found.name
    digest = hashlib.sha256()
    if found.is_dir():
        digest.update("\n".join(sorted(child.name for child in found.iterdir())).encode())
    else:
        size = found.stat().st_size
        digest.update(str(size).encode())
        with found.open("rb") as stream:
            digest.update(stream.read(_EDGE))
            stream.seek(max(0, size - _EDGE))
            digest.update(stream.read(_EDGE))
    return f"{found.resolve().name}:{digest.hexdigest()[:16]}"
