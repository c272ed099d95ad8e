"""The options of every component and of a run, read from source without importing it.

A component's options are the keyword-only arguments of its constructor; bounds come from the annotations, meanings from
the `Args:` section of the class docstring.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Any

from hdx import registry
from hdx.config import docstring, facts, source, types
from hdx.errors import ConfigError
from hdx.rules import Rule


@dataclass(frozen=True)
class Option:
    """One option of a component.

    Attributes:
        annotation: the evaluated type, which `types.fit` checks values against.
        default: None as well when the option is required.
    """

    name: str
    annotation: Any
    default: Any
    required: bool
    meaning: str

    @property
    def type(self) -> str:
        """What fits, in words: `float >= 0`."""
        return types.words(self.annotation)

    @property
    def bound(self) -> str | None:
        """`>= 0` or `[0, 1]`; None without one."""
        return types.bound(self.annotation)

    @cached_property
    def marks(self) -> frozenset[str]:
        """The names of its marks, of `hdx.options`."""
        return types.marks(self.annotation)

    @cached_property
    def usual(self) -> Any:
        """The default as a checked config has it: 1 as 1.0 where a float is wanted, a tuple as a list."""
        return self.default if self.required else types.fit(self.default, self.annotation)

    @property
    def choices(self) -> tuple[Any, ...] | None:
        """The values of an option that has a fixed set of them."""
        return types.choices(self.annotation)


@dataclass(frozen=True)
class ComponentInfo:
    """What is known of a component without importing it.

    Attributes:
        trains, keeps, certainty: of a method, and of a head in closed form: what trains when, what of earlier sessions is
            kept, and where the formula was read; empty where its docstring does not say.
        version: 1, and one more for each time that the class, or a base of it, came to give other results for the same options.
        facts: the literals assigned on the class and its bases (`hdx.config.facts`).
        rules: which of its options go together (`hdx.rules`).
    """

    name: str
    group: str
    summary: str
    source: str
    options: tuple[Option, ...]
    licence: str = ""  # of a dataset
    trains: str = ""
    keeps: str = ""
    certainty: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)
    rules: tuple[Rule, ...] = ()
    version: int = 1

    def option(self, name: str) -> Option | None:
        """The option of that name, or None."""
        return next((option for option in self.options if option.name == name), None)


def describe(group: str, name: str) -> ComponentInfo:
    """Summary, source and options of a registered component. Raises: ConfigError when unknown or without source."""
    module, _, cls = registry.find(group, name).partition(":")
    return _describe(module, cls, name, group)


def run_options() -> ComponentInfo:
    """The options at the top level of a config: seed, output_dir, devices, …"""
    return _describe("hdx.config.run", "Run", "run", "")


@cache
def _describe(module: str, cls: str, name: str, group: str) -> ComponentInfo:
    lineage = source.lineage(module, cls)
    docs = [ast.get_docstring(node) or "" for _, node in lineage]
    meanings: dict[str, str] = {}
    for doc in reversed(docs):
        meanings.update(docstring.arguments(doc))
    origin = next((text for doc in docs if (text := docstring.source(doc))), "")
    said = {label.lower(): docstring.labelled(docs[0], label).removesuffix(".") for label in ("Trains", "Keeps", "Certainty")}
    contract = registry.CONTRACTS.get(group, "")
    known, options = facts.read(lineage, contract), _options(lineage, meanings)
    rules = facts.rules(lineage, [option.name for option in options], contract)
    licence = str(known.get("licence", ""))
    version = 1 + sum(int(source.facts(node, where).get("version", 1)) - 1 for where, node in lineage)
    about = docstring.summary(docs[0])
    return ComponentInfo(name, group, about, origin, options, licence, **said, facts=known, rules=rules, version=version)


def _options(lineage: list[tuple[source.Module, ast.ClassDef]], meanings: dict[str, str]) -> tuple[Option, ...]:
    for where, node in lineage:
        for item in node.body:
            if isinstance(item, ast.FunctionDef) and item.name == "__init__":
                arguments = zip(item.args.kwonlyargs, item.args.kw_defaults)
                return tuple(_option(where, node.name, arg, default, meanings) for arg, default in arguments)
    return ()


def _option(where: source.Module, cls: str, arg: ast.arg, default: ast.expr | None, meanings: dict[str, str]) -> Option:
    place = f"{where.name}:{cls}.{arg.arg}"
    if arg.annotation is None:
        raise ConfigError(f"{place}: an option needs a type annotation")
    try:
        annotation = source.evaluate_type(arg.annotation, where)
    except Exception as error:
        raise ConfigError(f"{place}: the annotation {ast.unparse(arg.annotation)} is not understood ({error})") from None
    try:
        value = None if default is None else source.evaluate_literal(default, where)
    except ValueError:
        raise ConfigError(f"{place}: the default {ast.unparse(default or arg)} is no literal") from None
    return Option(arg.arg, annotation, value, default is None, meanings.get(arg.arg, ""))
