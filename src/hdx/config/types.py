"""Does a value fit an option's annotation? One function that checks, and one that says what was expected.

Annotations: int, float, bool, str, None, Any, Literal, unions, list, tuple, dict, and Annotated with bounds written as
`">= 0"` or as an interval `"[0, 1)"`, and with the marks of `hdx.options`.
"""

from __future__ import annotations

import math
import re
import types
import typing
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from hdx.options import Mark

_INTERVAL = re.compile(r"^([\[(])\s*([^,\s]+)\s*,\s*([^,\s]+)\s*([\])])$")
_COMPARE = re.compile(r"^(>=|<=|>|<)\s*(\S+)$")
_PLAIN = {int: "int", float: "float", bool: "bool", str: "string", type(None): "null", Any: "value", dict: "mapping"}


class Misfit(Exception):
    """The value does not fit."""


def fit(value: Any, annotation: Any) -> Any:
    """The value in the option's type (an int becomes a float where a float is wanted). Raises: Misfit."""
    origin = get_origin(annotation)
    if origin is Annotated:
        base, *bounds = get_args(annotation)
        value = fit(value, base)
        if not all(within(value, bound) for bound in bounds if isinstance(bound, str)):
            raise Misfit
        return value
    if origin in (Union, types.UnionType):
        return _fit_any(value, get_args(annotation))
    if origin is Literal:
        return _fit_literal(value, get_args(annotation))
    if origin in (list, tuple) or annotation in (list, tuple):
        return _fit_sequence(value, get_args(annotation), fixed=origin is tuple)
    return _fit_plain(value, origin or annotation)


def within(value: Any, bound: str) -> bool:
    """Whether a number satisfies a bound; every element of a list has to, and null always does."""
    if value is None:
        return True
    if isinstance(value, (list, tuple)):
        return all(within(item, bound) for item in value)
    if interval := _INTERVAL.match(bound):
        low, high = _limit(interval[2]), _limit(interval[3])
        above = value >= low if interval[1] == "[" else value > low
        below = value <= high if interval[4] == "]" else value < high
        return above and below
    if compare := _COMPARE.match(bound):
        limit = float(compare[2])
        return {">=": value >= limit, "<=": value <= limit, ">": value > limit, "<": value < limit}[compare[1]]
    raise ValueError(f"a bound is written '>= 0' or '[0, 1]', not {bound!r}")


def _limit(text: str) -> float:
    """A number, also as a power: `2^63`."""
    base, _, power = text.partition("^")
    return float(base) ** int(power or 1)


def words(annotation: Any) -> str:
    """What fits, in words without an article: `float >= 0`, `int in [0, 1] or null`, `one of avg, cls`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return f"{words(parts[0])} {' and '.join(_bound(part) for part in parts[1:] if isinstance(part, str))}".strip()
    if origin in (Union, types.UnionType):
        return " or ".join(words(part) for part in sorted(parts, key=lambda part: part is type(None)))
    if origin is Literal:
        return f"one of {', '.join(str(choice) for choice in parts)}"
    if origin is tuple and Ellipsis not in parts:
        return f"list of {len(parts)} values ({', '.join(words(part) for part in parts)})"
    if origin in (list, tuple):
        return f"list of ({words(parts[0])})" if " " in words(parts[0]) else f"list of {words(parts[0])}"
    return _PLAIN.get(origin or annotation, getattr(annotation, "__name__", str(annotation)))


def expected(annotation: Any) -> str:
    """`words` with its article, as error messages have it."""
    text = words(annotation)
    if text.startswith(("one of", "null")):
        return text
    return f"{'an' if text[0] in 'aeiou' else 'a'} {text}"


def choices(annotation: Any) -> tuple[Any, ...] | None:
    """The values of a Literal, also inside a union with None; None for other types."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) is Annotated:
        return choices(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        parts = [part for part in get_args(annotation) if part is not type(None)]
        return choices(parts[0]) if len(parts) == 1 else None
    return None


def bound(annotation: Any) -> str | None:
    """The bounds of a number, also inside a union with None; None where there are none."""
    if get_origin(annotation) is Annotated:
        base, *rest = get_args(annotation)
        return " and ".join(part for part in rest if isinstance(part, str)) or bound(base)
    found = [bound(part) for part in typing.get_args(annotation) if get_origin(annotation) is not Literal]
    return next((text for text in found if text), None)


def marks(annotation: Any) -> frozenset[str]:
    """The names of the marks of `hdx.options` in an annotation, however deep they stand."""
    own = {part.name for part in get_args(annotation) if isinstance(part, Mark)}
    return frozenset(own).union(*(marks(part) for part in get_args(annotation) if get_origin(annotation) is not Literal))


def _bound(text: str) -> str:
    return f"in {text}" if text[0] in "[(" else text


def _fit_any(value: Any, parts: tuple[Any, ...]) -> Any:
    exact = [part for part in parts if type(value) is part]
    for part in [*exact, *parts]:
        try:
            return fit(value, part)
        except Misfit:
            continue
    raise Misfit


def _fit_literal(value: Any, allowed: tuple[Any, ...]) -> Any:
    for choice in allowed:
        if type(value) is type(choice) and value == choice:
            return choice
    for choice in allowed:  # `precision=32` is read as a number, `method=true` as a bool
        if isinstance(choice, str) and isinstance(value, int) and str(value).lower() == choice.lower():
            return choice
    raise Misfit


def _fit_sequence(value: Any, parts: tuple[Any, ...], fixed: bool) -> list[Any]:
    if not isinstance(value, (list, tuple)):
        raise Misfit
    if fixed and Ellipsis not in parts:
        if len(parts) != len(value):
            raise Misfit
        return [fit(item, part) for item, part in zip(value, parts)]
    return [fit(item, parts[0]) for item in value] if parts else list(value)


def _fit_plain(value: Any, kind: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is Any:
        return value
    if kind in (None, type(None)) and value is None:
        return None
    if kind is float and number and math.isfinite(value):
        return float(value)
    if kind is int and isinstance(value, int) and number:
        return value
    if kind is str and isinstance(value, int) and number:  # a folder or a model whose name is a number
        return str(value)
    if kind in (bool, str, dict) and isinstance(value, kind):
        return value
    raise Misfit
