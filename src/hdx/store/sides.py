"""Two runs or two groups of runs against each other: how their configs and their metrics differ."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from hdx.errors import RunError
from hdx.metrics.intervals import mean_ci, paired_difference
from hdx.registry import did_you_mean
from hdx.store.files import read_json
from hdx.store.rows import GROUPS

Row = dict[str, Any]
MACHINE = ("seed", "data_dir", "output_dir", "devices", "nodes", "accelerator", "threads", "workers")
COSTS = ("trainable_parameters", "images_forwarded", "images_trained", "seconds")
#: Options of a protocol and a dataset that leave the list of episodes as it is.
OF_NO_EPISODE = (
    *("protocol.memory_mb", "protocol.train_seed", "protocol.joint", "protocol.train_on", "protocol.episodes"),
    *("dataset.storage", "dataset.memory_gb", "dataset.download"),
)


def find_side(rows: list[Row], name: str) -> list[Row]:
    """The finished runs of one side: a group (`exp/hash`, or the hash alone), or one run (its id, or an unambiguous part).

    Raises: RunError when nothing, or more than one group, is meant, or when no run of it is finished.
    """
    word = name.rstrip("/")
    exact = [row for row in rows if row["run_id"] == word or row["dir"] == word]
    group = [row for row in rows if word in (f"{row['exp']}/{row['group']}", row["group"])]
    found = exact or group or [row for row in rows if word and word in row["run_id"]]
    if not found:
        near = did_you_mean(word, [row["run_id"] for row in rows] + [f"{row['exp']}/{row['group']}" for row in rows])
        raise RunError(f"'{name}' is no run and no group.{near}  (hdx runs)")
    if len({(row["exp"], row["group"]) for row in found}) > 1:
        raise RunError(f"'{name}' fits {len(found)} runs of several groups; give a full run id or exp/hash  (hdx runs)")
    finished = [row for row in found if row["state"] == "finished"]
    if not finished:
        raise RunError(f"'{name}': expected a finished run, got {found[0]['state']} {found[0]['run_id']}  (hdx resume …)")
    return finished


def compare(a: list[Row], b: list[Row]) -> dict[str, Any]:
    """Differences of two sides, each the finished runs of one group.

    Returns: `a` and `b` (name, seeds), `config` (key, a, b), `metrics` (metric, a, b, difference; each mean, half of the 95 %
    interval and n; difference is b - a, over the episodes that two runs share, else over the seeds that both have where there are
    two or more, else of the means; `over` says which) and `costs` alike. Halves are None under 3 values.

    Costs are as if each run had been alone where that is known, and `spent` has what they were; a count has no p, and neither
    have seconds of which a part is another run's.
    """
    metrics = dict.fromkeys(name for row in (*a, *b) for name in row["metrics"] if not name.endswith("_ci95"))
    episodes = _episodes(a, b)
    return {
        "a": _named(a),
        "b": _named(b),
        "config": config_differences(a[0], b[0]),
        "metrics": [_metric(name, a, b, episodes) for name in metrics],
        "costs": [_cost(name, a, b) for name in COSTS],
    }


def _metric(name: str, a: list[Row], b: list[Row], episodes: list[dict[str, dict[Any, float]]] | None) -> dict[str, Any]:
    if episodes is not None and all(each.get(name) for each in episodes):
        return {**_difference(name, *(each[name] for each in episodes)), "over": "episodes"}
    return {**_difference(name, _by_seed(a, name), _by_seed(b, name)), "over": "seeds"}


def _cost(name: str, a: list[Row], b: list[Row]) -> dict[str, Any]:
    known = all(row.get(f"{name}_alone") is not None for row in (*a, *b))
    found = _difference(name, *(_by_seed(side, f"{name}_alone" if known else name) for side in (a, b)))
    measured = name == "seconds" and all(row.get("shares") is False for row in (*a, *b))
    found |= {} if measured else {"p": None, "paired": False}
    spent = [_mean(list(_by_seed(side, name).values())) for side in (a, b)]
    return {**found, "alone": known, "spent": {"a": spent[0], "b": spent[1]}}


def _episodes(a: list[Row], b: list[Row]) -> list[dict[str, dict[Any, float]]] | None:
    """For each side the metrics of every episode, by number; None unless two runs were judged on one list of episodes."""
    if len(a) != 1 or len(b) != 1 or any(row["protocol"] != "episodic" for row in (a[0], b[0])):
        return None
    lists = [_list_of_episodes(row) for row in (a[0], b[0])]
    if lists[0] != lists[1]:
        return None
    records = [read_json(Path(row["dir"]) / "record.json") for row in (a[0], b[0])]
    return [{name: dict(enumerate(values)) for name, values in (record.get("episodes") or {}).items()} for record in records]


def _list_of_episodes(row: Row) -> dict[str, Any]:
    """What decides which episodes a run is judged on; a longer list begins with the shorter one."""
    known = {key: value for key, value in row["options"].items() if key.startswith(("protocol.", "dataset."))}
    own = known.get("protocol.episode_seed")
    return {key: value for key, value in known.items() if key not in OF_NO_EPISODE} | {
        "protocol.episode_seed": row["seed"] if own is None else own
    }


def config_differences(a: Row, b: Row) -> list[dict[str, Any]]:
    """Chosen configs and options that differ; an option of a component that only one side has is None on the other."""
    found = [{"key": group, "a": a[group], "b": b[group]} for group in GROUPS if a[group] != b[group]]
    names = dict.fromkeys([*a["options"], *b["options"]])
    for name in names:
        left, right = a["options"].get(name), b["options"].get(name)
        if (
            left != right
            and name not in MACHINE
            and not name.startswith(("tracker.", "launcher."))
            and not name.endswith(".name")
        ):
            found.append({"key": name, "a": left, "b": right})
    return found


def _named(side: list[Row]) -> dict[str, Any]:
    row = side[0]
    name = row["run_id"] if len(side) == 1 else f"{row['exp']}/{row['group']}"
    return {"name": name, "seeds": sorted(row["seed"] for row in side if row["seed"] is not None)}


def _by_seed(side: list[Row], name: str) -> dict[int, float]:
    values = {row["seed"]: row["metrics"].get(name, row.get(name)) for row in side}
    return {seed: float(value) for seed, value in values.items() if isinstance(value, (int, float)) and seed is not None}


def _difference(name: str, a: dict[Any, float], b: dict[Any, float]) -> dict[str, Any]:
    left, right, paired = _mean(list(a.values())), _mean(list(b.values())), paired_difference(b, a)
    found: dict[str, Any] = {"metric": name, "a": left, "b": right, "difference": None, "paired": False, "p": None}
    if len(paired.keys) >= 2 or (len(a) == len(b) == len(paired.keys) == 1):
        found["difference"] = _mean([b[seed] - a[seed] for seed in paired.keys])
        found |= {"paired": len(paired.keys) >= 2, "p": None if math.isnan(paired.p) else paired.p}
    elif a and b:
        found["difference"] = {"mean": right["mean"] - left["mean"], "half": None, "n": min(len(a), len(b))}
    return found


def _mean(values: list[float]) -> dict[str, Any]:
    found = mean_ci(values)
    return {"mean": found.mean if found.n else None, "half": found.half if found.n >= 3 else None, "n": found.n}
