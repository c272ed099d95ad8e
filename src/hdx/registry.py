"""Names of components: `names`, `find`, `build`. Strings only, so that looking a name up imports nothing heavy.

A component is a public class in a public module of its group's package (`hdx.heads` of `head`), derived from the group's
contract, whose config is `conf/<group>/<name>.yaml`. Its name is that of its module, or what the class itself assigns to `name`.
Classes are found by reading source. Those of installed packages have the same rights (`hdx.plugins`); one that is broken is left
out, and `problems` names it.
"""

from __future__ import annotations

import ast
import difflib
import importlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from hdx import plugins
from hdx.config import files, source
from hdx.errors import ConfigError, HdxError

#: The class that every component of a group is derived from, in the group's package; it says which facts there are
#: (`hdx.config.facts`).
CONTRACTS: dict[str, str] = {
    "dataset": "hdx.datasets._base:Dataset",
    "backbone": "hdx.backbones._base:Backbone",
    "pool": "hdx.pools._base:Pool",
    "adapter": "hdx.adapters._base:Adapter",
    "head": "hdx.heads._base:Head",
    "method": "hdx.methods._base:Method",
    "memory": "hdx.memories._base:Memory",
    "protocol": "hdx.protocols._base:Protocol",
    "teacher": "hdx.teachers._base:Teacher",
    "loss": "hdx.losses._base:Loss",
    "trainer": "hdx.trainers.recipe:Recipe",
    "augment": "hdx.augments._base:Augmentation",
    "ops": "hdx.ops.options:Ops",
    "tracker": "hdx.trackers._base:Tracker",
    "launcher": "hdx.launchers._base:Launcher",
}


@dataclass
class Table:
    """Components that were found.

    Attributes:
        classes: `module:Class` by group and name.
        problems: a line for each that is left out.
        broken: those of them that have a name, by group and name.
    """

    classes: dict[tuple[str, str], str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    broken: dict[tuple[str, str], str] = field(default_factory=dict)

    def add(self, group: str, name: str, where: str) -> None:
        """Take a component in, unless there is one of that name."""
        known = self.classes.setdefault((group, name), where)
        if known != where:
            self.problems.append(f"{where}: {group} '{name}' is already {known}")


def groups() -> list[str]:
    """The groups of components."""
    return list(CONTRACTS)


def package(group: str) -> str:
    """The name of a group's package inside hdx, or inside a package that is laid out as hdx is."""
    return CONTRACTS[group].partition(":")[0].split(".")[1]


def did_you_mean(word: str, known: list[str], cutoff: float = 0.5) -> str:
    """` Did you mean 'x'?` for the nearest known word, else an empty string."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=cutoff)
    return f" Did you mean '{near[0]}'?" if near else ""


def names(group: str) -> list[str]:
    """Names registered in a group. Raises: ConfigError for an unknown group."""
    if group not in CONTRACTS:
        raise ConfigError(f"group '{group}' is unknown.{did_you_mean(group, groups())}  (hdx list)")
    return sorted(name for table in (_own(group), _foreign()) for kind, name in table.classes if kind == group)


def find(group: str, name: str) -> str:
    """`module:Class` of a component, as a string; nothing is imported. Raises: ConfigError with advice."""
    where = _found(group, name)
    if where is not None:
        return where
    known = names(group)
    if (line := _foreign().broken.get((group, name))) is not None:
        raise ConfigError(line)
    raise ConfigError(f"{group} '{name}' is unknown.{did_you_mean(name, known)}  (hdx list {group})")


def known(group: str, name: str) -> bool:
    """Whether there is a component of that name."""
    return _found(group, name) is not None


def problems() -> list[str]:
    """What is wrong with installed packages that bring components, one line each."""
    return _foreign().problems


def brought() -> dict[tuple[str, str], str]:
    """The components of installed packages: group and name to `module:Class`."""
    return _foreign().classes


def looked() -> bool:
    """Whether anything has asked yet for what is installed."""
    return plugins.installed.cache_info().currsize > 0


def load(group: str, name: str) -> type:
    """Import the class of a component. Raises: ConfigError for an unknown name, or a module that does not import."""
    where = find(group, name)
    module, _, cls = where.partition(":")
    try:
        return getattr(importlib.import_module(module), cls)
    except HdxError:
        raise
    except Exception as error:
        what = " ".join(str(error).split())
        raise ConfigError(f"{group} '{name}' ({where}) cannot be imported: {type(error).__name__}: {what}") from error


def build(group: str, options: dict[str, Any], *context: Any) -> Any:
    """Construct a component: `options` is its config node (`name` plus keyword options), `context` its positionals."""
    keywords = {key: value for key, value in options.items() if key != "name"}
    return load(group, options["name"])(*context, **keywords)


def forget() -> None:
    """Look at what is installed anew."""
    for cached in (plugins.installed, _own, _foreign, _found, _found_in, source.read, source.file_of):
        cached.cache_clear()


# --- what there is --------------------------------------------------------------------------------------------------


@cache
def _found(group: str, name: str) -> str | None:
    """A class by its name: first where most of hdx's own are, so that no other module needs to be read."""
    own = _named_by_its_module(group, name)
    return own or next((each[group, name] for each in _classes(group) if (group, name) in each), None)


def _classes(group: str) -> Iterator[dict[tuple[str, str], str]]:
    yield _own(group).classes
    yield _foreign().classes


@cache
def _own(group: str) -> Table:
    """hdx's own components of a group."""
    table = Table()
    if group in CONTRACTS:
        _scan(table, "hdx", group, files.packaged())
    return table


@lru_cache(maxsize=1)
def _foreign() -> Table:
    """The components of all plugins."""
    table, home = Table(), files.packaged()
    for plugin in plugins.installed():
        own = Table()
        if ":" in plugin.value:
            _take_class(own, plugin)
        else:
            _take_package(own, plugin.value)
        for (group, name), where in own.classes.items():
            if (home / group / f"{name}.yaml").is_file():
                own.problems.append(f"{where}: {group} '{name}' is already hdx's own")
            elif table.classes.setdefault((group, name), where) != where:
                own.problems.append(f"{where}: {group} '{name}' is already {table.classes[group, name]}")
        table.problems += [plugin.says(line) for line in own.problems]
        table.broken |= {key: plugin.says(line) for key, line in own.broken.items()}
    return table


def _take_class(table: Table, plugin: plugins.Plugin) -> None:
    """The one class that an entry point `<group>.<name>` names."""
    group, _, name = plugin.name.partition(".")
    if group not in CONTRACTS or not name:
        table.problems.append(f"expected the name '<group>.<name>' with a group of {', '.join(CONTRACTS)}")
        return
    module, _, cls = plugin.value.partition(":")
    try:
        _read_facts(module, cls, group)
    except ConfigError as error:
        table.problems.append(error.problems[0])
        table.broken[group, name] = error.problems[0]
    else:
        table.add(group, name, plugin.value)


def _read_facts(module: str, cls: str, group: str) -> None:
    """Raises: ConfigError for facts that make no sense. Those of hdx's own are read when they are asked for."""
    from hdx.config import facts

    facts.read(source.lineage(module, cls), CONTRACTS[group])


def _take_package(table: Table, root: str) -> None:
    """What a package that is laid out as hdx is brings."""
    conf = plugins.conf_folder(root)
    if conf is None:
        table.problems.append(f"expected a package {root} with a folder conf, or module:Class")
        return
    for group in CONTRACTS:
        _scan(table, root, group, conf)
    hidden = [file for file in sorted(conf.rglob("*.yaml")) if (files.packaged() / file.relative_to(conf)).is_file()]
    table.problems += [f"conf/{file.relative_to(conf).as_posix()} has the name of hdx's own" for file in hidden]


def _scan(table: Table, root: str, group: str, conf: Path) -> None:
    """The components of a group in `<root>/<group's package>/` whose config stands in `conf`."""
    home = plugins.folder(root)
    modules = sorted((home / package(group)).glob("[!_]*.py")) if home is not None else []
    for file in modules:
        module = f"{root}.{package(group)}.{file.stem}"
        try:
            found = _found_in(module, CONTRACTS[group])
            if root != "hdx":
                for _, cls in found:
                    _read_facts(module, cls, group)
        except ConfigError as error:
            table.problems.append(error.problems[0])
            table.broken[group, file.stem] = error.problems[0]
            continue
        for name, cls in found:
            if (conf / group / f"{name}.yaml").is_file():
                table.add(group, name, f"{module}:{cls}")


def _named_by_its_module(group: str, name: str) -> str | None:
    """One of hdx's own components that has the name of its module, or that is the contract itself."""
    if group not in CONTRACTS or not name.isidentifier() or not (files.packaged() / group / f"{name}.yaml").is_file():
        return None
    for module in (f"hdx.{package(group)}.{name}", CONTRACTS[group].partition(":")[0]):
        if source.file_of(module) is not None and not module.rpartition(".")[2].startswith("_"):
            for found, cls in _found_in(module, CONTRACTS[group]):
                if found == name:
                    return f"{module}:{cls}"
    return None


@cache
def _found_in(module: str, contract: str) -> tuple[tuple[str, str], ...]:
    """Names and classes of a module's components. Raises: ConfigError when it is no Python, or a base of a class is not."""
    where, stem = source.read(module), module.rpartition(".")[2]
    return tuple(
        (str(source.facts(node, where).get("name", stem)), cls)
        for cls, node in where.classes.items()
        if not cls.startswith("_") and contract in _kinds(source.lineage(module, cls))
    )


def _kinds(lineage: list[tuple[source.Module, ast.ClassDef]]) -> set[str]:
    return {f"{where.name}:{node.name}" for where, node in lineage}
