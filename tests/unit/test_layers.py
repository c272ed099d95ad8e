"""Who imports whom, read from source; an import inside a function counts, one for type checkers alone does not."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import hdx

HOME = Path(hdx.__file__).parent
HEAVY = ("torch", "torchvision", "pytorch_lightning", "timm")


def name_of(file: Path) -> str:
    parts = file.relative_to(HOME.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(file): ast.parse(file.read_text(encoding="utf-8")) for file in sorted(HOME.rglob("*.py"))}


def imported(tree: ast.AST, *, lazily: bool = True) -> Iterator[str]:
    """Full names of what is imported under a node: of hdx the modules, of others the top-level packages."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            continue
        if isinstance(node, ast.Import):
            yield from (each.name if each.name in MODULES else each.name.partition(".")[0] for each in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = str(node.module)
            for each in node.names:
                inside = f"{module}.{each.name}"
                yield inside if inside in MODULES else module if module in MODULES else module.partition(".")[0]
        elif lazily or not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield from imported(node, lazily=lazily)


def graph(*, lazily: bool) -> dict[str, set[str]]:
    return {name: set(imported(tree, lazily=lazily)) - {name} for name, tree in MODULES.items()}


def test_no_module_imports_itself_by_a_detour() -> None:
    left = graph(lazily=True)
    while leaves := [name for name, others in left.items() if not others & left.keys()]:
        for name in leaves:
            del left[name]
    while True:  # what imports a circle is in none
        used = set().union(*left.values()) if left else set()
        if not (above := [name for name in left if name not in used]):
            break
        for name in above:
            del left[name]
    assert {name: sorted(others & left.keys()) for name, others in left.items()} == {}


@cache
def reached(start: str) -> frozenset[str]:
    """Everything that is imported along with a module."""
    found, ahead, all_of = set(), [start], graph(lazily=False)
    while ahead:
        name = ahead.pop()
        for other in all_of.get(name, ()):
            if other not in found:
                found.add(other)
                ahead.append(other)
    return frozenset(found)


@pytest.mark.parametrize("package", ["config", "store", "report", "metrics", "registry", "plugins", "rules", "options"])
def test_what_is_light_imports_nothing_heavy(package: str) -> None:
    for name in MODULES:
        if name == f"hdx.{package}" or name.startswith(f"hdx.{package}."):
            assert not reached(name) & set(HEAVY), name


def test_a_dataset_knows_no_backbone() -> None:
    for name in MODULES:
        if name.startswith("hdx.datasets."):
            assert not [other for other in imported(MODULES[name]) if other.startswith("hdx.backbones")], name
