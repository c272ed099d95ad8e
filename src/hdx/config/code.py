"""Code that is not hdx's own: the distribution that a component comes from, with its version, and a digest of its source."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

from hdx import content, digest, plugins, registry
from hdx.config import source

CODE = (".py", ".so", ".pyd")


def of(group: str, name: str) -> dict[str, Any]:
    """`{distribution, source}` of a component; empty for hdx's own, which the `version` of its class stands for.

    The source is that of the packages that the class and its bases are defined in, hdx's left out.
    """
    module, _, cls = registry.find(group, name).partition(":")
    if _top(module) == "hdx":
        return {}
    modules = {module, *(where.name for where, _ in source.lineage(module, cls))}
    digests = {_top(each): _digest(each) for each in sorted(modules) if _top(each) != "hdx"}
    origin = next((plugin.origin for plugin in plugins.installed() if _top(plugin.package) == _top(module)), "")
    return {"distribution": origin, "source": digest.of_json(digests)}


def _top(module: str) -> str:
    return module.partition(".")[0]


def _digest(module: str) -> str:
    """Of the package that a module belongs to as a whole, or of a module that stands alone."""
    file = source.file_of(_top(module)) or source.file_of(module)  # a package without __init__.py is spread over folders
    if file is None:  # built in, or compiled and alone
        spec = importlib.util.find_spec(_top(module))
        return content.of(spec.origin) if spec is not None and spec.origin and Path(spec.origin).is_file() else ""
    if file.name == "__init__.py" or "." in module:
        return content.of_folder(file.parent, endings=CODE)
    return content.of(file)
