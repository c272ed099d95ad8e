"""What can be known without torch, and without work, of whether a run can start: asked before anything is written or deleted.

A component says what it needs by facts on its class, read from source: `requires` names a package and `extra` the extra of hdx
that installs it; a dataset's `looked_for` are the places under the folder of datasets, and `n_classes` how many classes it has.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from hdx import hardware, registry
from hdx.config import source, teacher
from hdx.config.paths import data_folder, located
from hdx.config.schema import describe
from hdx.errors import ConfigError, DataError
from hdx.store.files import check_writable

Check = Callable[[dict[str, Any]], Iterable[str]]


def check(data: dict[str, Any], *, makes_teachers: bool = False) -> None:
    """Raises: ConfigError with a line for everything that is missing on this machine; RunError when nothing can be written.

    Args:
        data: a checked config.
        makes_teachers: whether the teacher that `teacher.overrides` names is made before the run, as a sweep does.
    """
    found = problems(data)
    if not makes_teachers and (line := teacher.unfinished(data)) and line not in found:
        found.append(line)
    if found:
        raise ConfigError(found)
    check_writable(Path(data["output_dir"]).expanduser())


def problems(data: dict[str, Any]) -> list[str]:
    """What is missing for a run of a checked config, a line each; empty when it can start as far as this can be known."""
    return list(dict.fromkeys(line for each in CHECKS for line in each(data)))


def lacking(group: str, name: str) -> str | None:
    """The line that says which package a component lacks, with the command that installs it; None where it lacks none."""
    known = describe(group, name).facts
    package = known.get("requires")
    if not package or _installed(package):
        return None
    wanted = f"hdx[{known['extra']}]" if known.get("extra") else package
    return f"{group}={name} needs the package {package}, which is not installed: pip install '{wanted}'"


def _packages(data: dict[str, Any]) -> Iterator[str]:
    for group in registry.groups():
        if isinstance(node := data.get(group), dict) and (line := lacking(group, node["name"])):
            yield line


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except (ImportError, ValueError):
        return False


def _files(data: dict[str, Any]) -> Iterator[str]:
    """Files and folders that options name."""
    for group, option, what in (("backbone", "checkpoint", "file"), ("teacher", "checkpoint", "file")):
        path = data.get(group, {}).get(option)
        if path is not None and not Path(located(path, data["data_dir"])).expanduser().is_file():
            yield f"{group}.{option}: no {what} {path}  (looked for as given, then in the folder of datasets)"


def _dataset(data: dict[str, Any]) -> Iterator[str]:
    node = data["dataset"]
    looked_for, path = describe("dataset", node["name"]).facts["looked_for"].get("path"), node.get("path")
    if looked_for is None or node.get("download"):
        return
    from hdx.datasets._find import locate

    try:
        locate(node["name"], data_folder(data["data_dir"]), path and located(path, data["data_dir"]), looked_for)
    except DataError as error:
        yield str(error)


def _protocol(data: dict[str, Any]) -> Iterator[str]:
    """Sessions of more classes than there are, where the dataset says how many it has."""
    n_classes = describe("dataset", data["dataset"]["name"]).facts.get("n_classes")
    if not n_classes:
        return
    try:
        registry.build("protocol", data["protocol"]).check_classes(n_classes)
    except ConfigError as error:
        yield from error.problems


def _classify(data: dict[str, Any]) -> Iterator[str]:
    """A head that says itself to be solved, and that no episode can be judged by."""
    name = data["head"]["name"]
    judged = describe("protocol", data["protocol"]["name"]).facts.get("episodic")
    if not judged or describe("head", name).facts.get("kind") == "gradient":
        return
    module, _, cls = registry.find("head", name).partition(":")
    lineage = source.lineage(module, cls)
    contract = [node.name for where, node in lineage if where.name == "hdx.heads._base"]
    own = (item for where, node in lineage if where.name != "hdx.heads._base" for item in node.body)
    if contract and not any(getattr(item, "name", "") == "classify" for item in own):
        yield f"head={name} has no `classify`, by which episodes are judged: take head=ncm, or another protocol"


def _teacher(data: dict[str, Any]) -> Iterator[str]:
    """A teacher that is named by the id of a run."""
    if data.get("teacher", {}).get("run") and (line := teacher.unfinished(data)):
        yield line


CHECKS: tuple[Check, ...] = (hardware.problems, _packages, _files, _dataset, _protocol, _classify, _teacher)
