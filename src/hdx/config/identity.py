"""The identity of a group of runs: a hash of what decides its results, and of nothing else.

That is: of every component its name, the options that differ from the defaults of its class, the `version` of the class where it
is not 1, and what the files hold that it reads. So an option that comes later with a default that does what was done before
renames no run; a default that changes needs a new `version`. Options that change nothing measured are marked as such
(`hdx.options`); so are whole groups, by `unhashed = True` on their contracts.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from hdx import digest, registry
from hdx.config import code, contents, named, schema, source


def group_hash(data: dict[str, Any], taught: str = "") -> str:
    """Eight hex digits of `about`."""
    return digest.of_json(about(data, taught))[:8]


def about(data: dict[str, Any], taught: str = "") -> dict[str, Any]:
    """What decides the results of a config, as plain data; a component `none` is as if its group were not there.

    Args:
        taught: the run that `teacher.overrides` names, `<hash>-s<seed>` (`Config.taught`).
    """
    kept = _of_options(schema.run_options(), data)
    found = {group: component(data, group, taught) for group in registry.groups() if group in data and hashed(group)}
    return kept | {group: node for group, node in found.items() if node != {"name": "none"}}


def component(data: dict[str, Any], group: str, taught: str = "", *, scoring: bool = True) -> dict[str, Any]:
    """What decides what the component of a group does.

    Args:
        taught: as for `about`.
        scoring: with the options that only say how a trained body is scored.
    """
    kept = _of_node(data, group, data[group], scoring)
    if any("run" in option.marks for option in schema.describe(group, data[group]["name"]).options):
        kept["is"] = _run(data, group, taught)
    return kept


def _run(data: dict[str, Any], group: str, taught: str) -> str:
    """What the run is that a component names. Raises: ValueError where its words were not resolved."""
    if group != "teacher" or not data[group].get("overrides"):
        return named.identity(str(data[group].get("run")), data)
    if not taught:
        raise ValueError(f"Expected the run that teacher.overrides={data[group]['overrides']} names")
    return taught


def _of_node(data: dict[str, Any], group: str, node: dict[str, Any], scoring: bool = True) -> dict[str, Any]:
    info = schema.describe(group, node["name"])
    kept = {"name": node["name"], **_of_options(info, node, scoring)}
    if files := _of_files(data, group, node):
        kept["files"] = files
    parts = [_of_node(data, group, part) for option, part in contents.parts(group, node) if _counts(info, option, scoring)]
    if any(len(part) > 1 for part in parts) or any(isinstance(node[option], dict) for option, _ in contents.parts(group, node)):
        kept["parts"] = parts
    if foreign := code.of(group, node["name"]):
        kept["code"] = foreign
    return kept


def _of_options(info: schema.ComponentInfo, node: dict[str, Any], scoring: bool = True) -> dict[str, Any]:
    """The version of a class where it is not the first, and the options where they are not the defaults."""
    options = {
        option.name: node[option.name]
        for option in info.options
        if not {"unhashed", "file", "run"} & option.marks and _counts(info, option.name, scoring)
        if option.name in node and (option.required or node[option.name] != option.usual)
        if not (option.name in info.facts.get("parts", ()) and isinstance(node[option.name], dict))  # counts by its own options
    }
    return ({} if info.version == 1 else {"version": info.version}) | ({"options": options} if options else {})


def _counts(info: schema.ComponentInfo, name: str, scoring: bool) -> bool:
    option = info.option(name)
    return scoring or option is None or "scoring" not in option.marks


def _of_files(data: dict[str, Any], group: str, node: dict[str, Any]) -> dict[str, list[str]]:
    """Digests of what a component reads, by option; the files of hdx's own results are the default, and so is what is looked
    for and not there."""
    known = schema.describe(group, node["name"]).facts.get("known", {}).values()
    found: dict[str, list[str]] = {}
    for read in contents.reads(group, node, data.get("data_dir")):
        held = read.digest
        if held is None and read.given:
            held = f"no file {read.name}"
        if held is not None and held not in known:
            found.setdefault(read.option, []).append(held)
    return found


def body_key(data: dict[str, Any], taught: str = "") -> str:
    """Eight hex digits that runs share when they use the same states of the same body.

    For a frozen body: dataset, backbone, pool, adapter, precision, and the seed where its weights are drawn and not loaded.
    A body that trains adds method, protocol, trainer, loss and seeds, and the head where the two train together.

    Args:
        taught: as for `about`.
    """
    stays = body_stays(data)
    kept = {key: component(data, key, taught, scoring=stays) for key in ("dataset", "backbone", "pool", "adapter")}
    kept |= {key: data[key] for key in ("precision", "feature_dtype", "output_dir")}
    protocol, backbone = data["protocol"], data["backbone"]
    names = ("order_seed", "shot_seed", "train_seed", "label_seed")
    seeds = {name: data["seed"] if protocol.get(name) is None else protocol[name] for name in names}
    if not stays:
        parts = (
            "method",
            "memory",
            "protocol",
            "trainer",
            "augment",
            "loss",
            "teacher",
            *(() if body_shared(data) else ("head",)),
        )
        kept |= {key: component(data, key, taught, scoring=False) for key in parts} | {"seeds": seeds}
    elif not (backbone.get("pretrained") or backbone.get("checkpoint")):
        kept |= {"seeds": seeds["train_seed"]}
    return digest.of_json(kept)[:8]


def body_stays(data: dict[str, Any]) -> bool:
    """Whether a run leaves the body as it is, so that its features are extracted once for all runs of its `body_key`."""
    return bool(schema.describe("method", data["method"]["name"]).facts["trains_in"] == "never")


def body_shared(data: dict[str, Any]) -> bool:
    """Whether the first run of a `body_key` leaves behind what the others need: features of a frozen body, or a trained one."""
    return not schema.describe("method", data["method"]["name"]).facts["trains_head"]


@cache
def hashed(key: str) -> bool:
    """Whether a run option or a group is part of the identity; of a group its contract says so."""
    if key not in registry.CONTRACTS:
        option = schema.run_options().option(key)
        return option is None or "unhashed" not in option.marks
    contract = source.lineage(*registry.CONTRACTS[key].split(":"))
    return not any(source.facts(node, where).get("unhashed") for where, node in contract)


@cache
def unhashed() -> tuple[str, ...]:
    """The run options and groups that say where, on what and with which witnesses a run is done."""
    known = [*(option.name for option in schema.run_options().options), *registry.groups()]
    return tuple(key for key in known if not hashed(key))
