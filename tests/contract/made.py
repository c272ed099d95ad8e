"""Every registered component, made from its config file without being named: what the contract tests are tried on."""

from __future__ import annotations

from typing import Any

from hdx import registry
from hdx.config import files, paths
from hdx.config.files import read_plain


def configs(group: str) -> list[str]:
    """Names of the packaged config files of a group: each component, and each of its named settings."""
    return [name for name in files.names(group, [paths.packaged()]) if "/" not in name]


def node(group: str, name: str) -> dict[str, Any]:
    """The options in a config file."""
    file = files.path(group, name, [paths.packaged()])
    assert file is not None
    return read_plain(file)


#: What makes a component cheap and leaves its contract what it is: the most of an option.
FEW = {"projections": 100, "steps": 5, "bound_steps": 20, "sinkhorn_steps": 50}


def build(group: str, name: str, *context: Any, **changed: Any) -> Any:
    """A component with the options of its config file, cut down by `FEW`, some of them changed."""
    options = {key: min(value, FEW[key]) if key in FEW else value for key, value in node(group, name).items()}
    return registry.build(group, options | changed, *context)


def classes(group: str) -> dict[str, type]:
    """The class behind each config file."""
    return {name: registry.load(group, node(group, name)["name"]) for name in configs(group)}
