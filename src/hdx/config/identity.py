"""The identity of a group of runs: a hash of what decides its results, and of nothing else."""

from __future__ import annotations

import copy
import hashlib
from pathlib import Path
from typing import Any

#: Keys that change where, on what and with which witnesses a run is done. The seed tells the runs of a group apart.
UNHASHED = (
    *("seed", "data_dir", "output_dir", "devices", "nodes", "accelerator", "threads", "workers"),
    *("ops", "tracker", "launcher"),
)
#: Options of a group that say how something is kept or fetched, and change nothing that is measured.
UNHASHED_OPTIONS = (
    ("trainer", "checkpoint_seconds"),
    ("dataset", "storage"),
    ("dataset", "memory_gb"),
    ("dataset", "download"),
    ("protocol", "memory_mb"),
    ("teacher", "cache"),
)
#: Options that name a file or a folder: the same one has another path on another machine.
PATHS = (
    *(("dataset", "path"), ("dataset", "omniglot_path"), ("dataset", "train_list"), ("dataset", "test_list")),
    *(("backbone", "checkpoint"), ("teacher", "checkpoint")),
)
#: Options that came after the first runs, with the value that is what those did: at it they leave the hash as it was.
LATER = (
    ("protocol", "sizes", None),
    *(("protocol", "labels", None), ("protocol", "validation", 0.0), ("protocol", "label_seed", None)),
    *(("trainer", "crops", None), ("trainer", "crop_seed", 0), ("trainer", "activation_memory", "none")),
    *(("backbone", "stem", None), ("backbone", "shortcut", "pad")),
    *(("dataset", "train_list", None), ("dataset", "test_list", None)),
    *(("dataset", "background", "white"), ("dataset", "skip_broken", 0)),
)
_EDGE = 1 << 16


def group_hash(data: dict[str, Any]) -> str:
    """Eight hex digits of the resolved config without `UNHASHED` and `UNHASHED_OPTIONS`; `PATHS` enter by `fingerprint`."""
    from hdx import digest
    from hdx.config.paths import located

    kept = copy.deepcopy({key: value for key, value in data.items() if key not in UNHASHED})
    for group, option in UNHASHED_OPTIONS:
        if isinstance(kept.get(group), dict):
            kept[group].pop(option, None)
    if kept.get("memory") == {"name": "none"}:
        kept.pop("memory")  # as runs had it before there were memories
    if "teacher" in kept:
        kept["teacher"] = _teacher(data)
    if not kept.get("teacher"):
        kept.pop("teacher", None)  # as runs had it before there were teachers
    for group, option, usual in LATER:
        if isinstance(kept.get(group), dict) and kept[group].get(option, ...) == usual:
            kept[group].pop(option)
    for group, option in PATHS:
        node = kept.get(group)
        if isinstance(node, dict) and isinstance(node.get(option), str):
            node[option] = fingerprint(located(node[option], data.get("data_dir")))
    return digest.of_json(kept)[:8]


def _teacher(data: dict[str, Any]) -> dict[str, Any]:
    """The teacher's options that count, and of a run what it is instead of how it is named; empty for none."""
    node = _hashed(data["teacher"], "teacher")
    if node["name"] != "run":
        return {} if node["name"] == "none" else node
    from hdx.config.teacher import identity

    return {key: value for key, value in node.items() if key not in ("run", "overrides")} | {"is": identity(data)}


#: Methods that never train the body, so that all their runs see one and the same.
BODY_STAYS = ("frozen",)
#: Options of a component that say how a trained body is scored and have no say in its training.
SCORING = {
    ("protocol", "episodic"): (
        *("ways", "shots", "queries", "episodes", "dirichlet", "within_groups", "support", "classes", "joint"),
        *("memory_mb", "episode_seed"),
    ),
    ("dataset", "cross_domain"): ("target",),
}
#: Methods that train the body without the head; the others train both together.
WITHOUT_HEAD = ("frozen", "first_session", "joint", "prototypical", "normsoftmax", "simclr", "byol", "prune")


def body_key(data: dict[str, Any]) -> str:
    """Eight hex digits that runs share when they use the same states of the same body.

    For a frozen body: dataset, backbone, pool, adapter, precision, and the seed where its weights are drawn and not loaded.
    A body that trains adds method, protocol, trainer, loss and seeds, and the head where the two train together.
    """
    from hdx import digest

    kept = {key: _hashed(data[key], key) for key in ("dataset", "backbone", "pool", "adapter")}
    kept |= {key: data[key] for key in ("precision", "feature_dtype", "output_dir")}
    protocol, backbone = data["protocol"], data["backbone"]
    names = ("order_seed", "shot_seed", "train_seed", "label_seed")
    seeds = {name: data["seed"] if protocol.get(name) is None else protocol[name] for name in names}
    if not body_stays(data):
        kept |= {key: _hashed(data[key], key) for key in ("method", "memory", "protocol", "trainer", "loss")} | {"seeds": seeds}
        kept |= {"teacher": _teacher(data)}
        for group in ("protocol", "dataset"):
            for option in SCORING.get((group, data[group]["name"]), ()):
                kept[group].pop(option, None)
        kept |= {} if data["method"]["name"] in WITHOUT_HEAD else {"head": data["head"]}
    elif not (backbone.get("pretrained") or backbone.get("checkpoint")):
        kept |= {"seeds": seeds["train_seed"]}
    return digest.of_json(kept)[:8]


def body_stays(data: dict[str, Any]) -> bool:
    """Whether a run leaves the body as it is, so that its features are extracted once for all runs of its `body_key`."""
    return data["method"]["name"] in BODY_STAYS


def body_shared(data: dict[str, Any]) -> bool:
    """Whether the first run of a `body_key` leaves behind what the others need: features of a frozen body, or a trained one."""
    return data["method"]["name"] in WITHOUT_HEAD


def _hashed(node: dict[str, Any], group: str) -> dict[str, Any]:
    named = {option: value for option, value in node.items() if (group, option) not in UNHASHED_OPTIONS}
    return {option: value for option, value in named.items() if (group, option, value) not in LATER}


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
