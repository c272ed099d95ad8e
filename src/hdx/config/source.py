"""Classes read from source text with `ast`: nothing is imported, so that a config is checked before torch is loaded."""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib.util
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hdx import options
from hdx.errors import ConfigError

_TYPES = {name: getattr(builtins, name) for name in ("int", "float", "bool", "str", "list", "tuple", "dict", "object")}
_TYPING = {name: getattr(typing, name) for name in ("Annotated", "Any", "ClassVar", "Literal", "Optional", "Union")}
_BOUNDED = {name: value for name, value in vars(options).items() if not name.startswith("_")}


@dataclass(frozen=True)
class Module:
    """A parsed module: its top-level assignments, classes, and where each imported name comes from."""

    name: str
    values: dict[str, ast.expr]
    classes: dict[str, ast.ClassDef]
    imports: dict[str, tuple[str, str]]


@cache
def read(module: str) -> Module:
    """Parse a module's source. Raises: ConfigError when there is no such file, or it is no Python."""
    file = file_of(module)
    if file is None:
        raise ConfigError(f"module {module} has no source file: is the package that registers it installed whole?")
    try:
        tree = ast.parse(file.read_text(encoding="utf-8"))
    except SyntaxError as error:
        raise ConfigError(f"module {module} does not parse: {error}") from None
    package = module if file.name == "__init__.py" else module.rpartition(".")[0]
    values = dict(assignments(tree))
    classes = {node.name: node for node in tree.body if isinstance(node, ast.ClassDef)}
    return Module(module, values, classes, dict(_imports(tree, package)))


def lineage(module: str, name: str) -> list[tuple[Module, ast.ClassDef]]:
    """A class and its bases as far as their source is found, the class first. Raises: ConfigError when it is missing."""
    where = read(module)
    node = where.classes.get(name)
    if node is None:
        if name in where.imports:
            return lineage(*where.imports[name])
        raise ConfigError(f"module {module} has no class {name}")
    found = [(where, node)]
    for base in node.bases:
        found += _base(where, base)
    return found


def evaluate_type(expression: ast.expr, where: Module) -> Any:
    """The type an annotation means, from typing, hdx.options, builtins and the module's own aliases."""
    code = compile(ast.Expression(expression), where.name, "eval")
    return eval(code, {"__builtins__": {}}, _Names(where))  # annotations of installed code, never text of a config


def evaluate_literal(expression: ast.expr, where: Module) -> Any:
    """The value of a default: a literal, or a module-level constant. Raises: ValueError otherwise."""
    if isinstance(expression, ast.Name):
        found = _lookup(expression.id, where)
        if found is not None:
            return evaluate_literal(*found)
    return ast.literal_eval(expression)


def facts(node: ast.ClassDef, where: Module) -> dict[str, Any]:
    """The literals assigned on a class itself, by name."""
    found = {}
    for name, value in assignments(node):
        with contextlib.suppress(ValueError, TypeError):  # anything but a literal
            found[name] = evaluate_literal(value, where)
    return found


class _Names(Mapping[str, Any]):
    """What an annotation may mention."""

    def __init__(self, where: Module) -> None:
        self.where = where

    def __getitem__(self, name: str) -> Any:
        for table in (_TYPES, _TYPING, _BOUNDED):
            if name in table:
                return table[name]
        found = _lookup(name, self.where)
        if found is None:
            raise KeyError(name)
        return evaluate_type(*found)

    def __iter__(self) -> Iterator[str]:
        return iter([*_TYPES, *_TYPING, *_BOUNDED])

    def __len__(self) -> int:
        return len(_TYPES) + len(_TYPING) + len(_BOUNDED)


def _lookup(name: str, where: Module) -> tuple[ast.expr, Module] | None:
    if name in where.values:
        return where.values[name], where
    if name in where.imports:
        module, original = where.imports[name]
        if file_of(module) is not None:
            return _lookup(original, read(module))
    return None


def _base(where: Module, base: ast.expr) -> list[tuple[Module, ast.ClassDef]]:
    if not isinstance(base, ast.Name):
        return []
    if base.id in where.classes:
        return lineage(where.name, base.id)
    module, name = where.imports.get(base.id, ("", ""))
    if file_of(module) is None or name not in read(module).classes:
        return []
    return lineage(module, name)


def assignments(tree: ast.Module | ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    """Names and values assigned at the top of a module or class."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
            yield node.target.id, node.value


def _imports(tree: ast.Module, package: str) -> Iterator[tuple[str, tuple[str, str]]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            module = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield alias.asname or alias.name, (module, alias.name)


@cache
def file_of(module: str) -> Path | None:
    """The file of a module, None where there is none.

    Only the top-level package is looked up by the import system, which does not import it.
    """
    first, *rest = module.split(".")
    try:
        spec = importlib.util.find_spec(first) if first else None
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for folder in spec.submodule_search_locations or []:
        base = Path(folder, *rest)
        for file in (base.with_suffix(".py"), base / "__init__.py"):
            if file.is_file():
                return file
    return None
