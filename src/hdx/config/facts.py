"""What a class says of itself in literals: read from source, without importing it, and held against its group's contract.

The facts of a group are the annotated class attributes of its contract (`Method`, `Head`, …) that are a `ClassVar` or have a
literal value. Of a class and its bases the nearest assignment holds. One without a default has to be given by every class.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Sequence
from functools import cache
from typing import Any, ClassVar, get_args, get_origin

from hdx.config import source, types
from hdx.errors import ConfigError
from hdx.rules import CONSTRUCTORS, Rule

Lineage = Sequence[tuple[source.Module, ast.ClassDef]]


def read(lineage: Lineage, contract: str) -> dict[str, Any]:
    """The literals of a class and its bases by name, those of the contract among them.

    Args:
        lineage: of the class, itself first; contract: `module:Class`, empty for a class that has none.
    Raises: ConfigError for a fact that is missing, of another type, or no literal.
    """
    if not contract:
        return {}
    base = source.lineage(*contract.split(":"))
    found: dict[str, Any] = {}
    for where, node in reversed([*lineage, *base]):
        found |= source.facts(node, where)
    found.pop("rules", None)
    where, node = lineage[0]
    place = f"{where.name}:{node.name}"
    for name, annotation in declared(contract).items():
        if name in _computed(lineage):
            raise ConfigError(f"{place}.{name}: a fact is a literal on the class, since it is read without running code")
        if name not in found:
            raise ConfigError(f"{place} does not say its `{name}`: give the class {name} = …, {types.expected(annotation)}")
        try:
            types.fit(found[name], annotation)
        except types.Misfit:
            raise ConfigError(f"{place}.{name}: expected {types.expected(annotation)}, got {found[name]!r}") from None
    return found


def rules(lineage: Lineage, options: Collection[str], contract: str) -> tuple[Rule, ...]:
    """The rules of a class and its bases (`hdx.rules`), those left out that are about options which a subclass no longer has.

    Raises: ConfigError for one that is none, or that is about an option which its own class does not have.
    """
    found: list[Rule] = []
    base = source.lineage(*contract.split(":")) if contract else []
    for place, (where, node) in enumerate({(where.name, node.name): (where, node) for where, node in [*lineage, *base]}.values()):
        expression = dict(source.assignments(node)).get("rules", ast.Tuple([]))
        for own in _rules(expression, where, node):
            missing = [name for name in own.options() if name not in options]
            if missing and not place:
                raise ConfigError(f"{where.name}:{node.name}.rules: {missing[0]} is no option of {node.name}")
            found += [] if missing else [own]
    return tuple(found)


def _rules(expression: ast.expr, where: source.Module, node: ast.ClassDef) -> list[Rule]:
    place = f"{where.name}:{node.name}.rules"
    if not isinstance(expression, ast.Tuple):
        raise ConfigError(f"{place}: expected a tuple of rules of hdx.rules, got {ast.unparse(expression)}")
    return [_rule(each, where, place) for each in expression.elts]


def _rule(call: ast.expr, where: source.Module, place: str) -> Rule:
    """The rule that a call of one of `hdx.rules.CONSTRUCTORS` makes, whose arguments are literals."""
    name = call.func.id if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) else ""
    module, original = where.imports.get(name, ("", ""))
    if module != "hdx.rules" or original not in CONSTRUCTORS:
        raise ConfigError(f"{place}: expected one of {', '.join(CONSTRUCTORS)} of hdx.rules, got {ast.unparse(call)}")
    assert isinstance(call, ast.Call)
    try:
        arguments = [_argument(each, where) for each in call.args]
        keywords = {each.arg: _argument(each.value, where) for each in call.keywords if each.arg}
        return CONSTRUCTORS[original](*arguments, **keywords)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{place}: {ast.unparse(call)} is not understood: {error}") from None


def _argument(expression: ast.expr, where: source.Module) -> Any:
    """A literal, in which module-level constants may stand as values of a mapping."""
    if isinstance(expression, ast.Dict):
        pairs = zip(expression.keys, expression.values)
        return {ast.literal_eval(key): _argument(value, where) for key, value in pairs if key is not None}
    return source.evaluate_literal(expression, where)


@cache
def declared(contract: str) -> dict[str, Any]:
    """The names of a contract's facts, with what fits each."""
    found: dict[str, Any] = {}
    for where, node in source.lineage(*contract.split(":")):
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                annotation = _annotation(item, where, required=item.target.id in source.facts(node, where))
                if annotation is not None:
                    found.setdefault(item.target.id, annotation)
    return found


def _annotation(item: ast.AnnAssign, where: source.Module, required: bool) -> Any:
    """The type of a fact without `ClassVar`; None for an attribute that is none."""
    try:
        annotation = source.evaluate_type(item.annotation, where)
    except Exception:  # a type that no option has, as of a tensor
        return None
    if get_origin(annotation) is ClassVar:
        return get_args(annotation)[0]
    return annotation if required else None


def _computed(lineage: Lineage) -> set[str]:
    """Names that a class or a base of it, nearer than any literal of that name, computes."""
    nearest: dict[str, bool] = {}
    for where, node in lineage:
        literals = source.facts(node, where)
        names = [name for name, _ in source.assignments(node)]
        names += [item.name for item in node.body if isinstance(item, ast.FunctionDef)]
        for name in names:
            nearest.setdefault(name, name not in literals)
    return {name for name, computed in nearest.items() if computed}
