"""Filters over runs as a user writes them: `state=failed`, `acc_last>0.9`, `age<2d`, `exp=fsa_*,joint`."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from typing import Any

from hdx.errors import ConfigError
from hdx.registry import did_you_mean
from hdx.store.index import STATES, value

UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
TIMES = ("age", "seconds")
_FILTER = re.compile(r"([\w.]+)\s*(!=|>=|<=|=|>|<)(.*)", re.DOTALL)
_NUMBER = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*([smhdw%]?)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
}
Row = dict[str, Any]
Predicate = Callable[[Row], bool]


def known_keys(rows: Sequence[Row]) -> list[str]:
    """Every key that a filter or a sort over these runs may name: of the rows, their metrics and their config options."""
    keys: dict[str, None] = {}
    for row in rows:
        for group in (row, row["metrics"], row["options"]):
            keys |= dict.fromkeys(group)
    return [key for key in keys if key not in ("options", "metrics", "progress", "session_accuracies")]


def select(rows: Sequence[Row], words: Sequence[str]) -> list[Row]:
    """The rows that pass every filter.

    `key=a,b` is one of several, with `*` for any text; `key!=a` none of them; `>`, `>=`, `<`, `<=` compare numbers, of
    which an age or a duration may have a unit (s, m, h, d, w) and an accuracy a %. A run without a value passes no comparison.

    Raises: ConfigError with a line for each filter that makes no sense.
    """
    known, problems, predicates = known_keys(rows), [], []
    for word in words:
        try:
            predicates.append(_predicate(word, known))
        except ConfigError as error:
            problems += error.problems
    if problems:
        raise ConfigError(problems)
    return [row for row in rows if all(passes(row) for passes in predicates)]


def check_key(key: str, known: Sequence[str]) -> None:
    """Raises: ConfigError for a key that no run has; where there are no runs every key is right."""
    if known and key not in known:
        raise ConfigError(f"'{key}' is nothing that a run has.{did_you_mean(key, list(known))}  (hdx runs --help)")


def _predicate(word: str, known: Sequence[str]) -> Predicate:
    match = _FILTER.fullmatch(word.strip())
    if match is None:
        advice = f" Did you mean 'state={word}'?" if word in STATES else ""
        raise ConfigError(f"'{word}' is no filter.{advice}  (expected KEY=VALUE, KEY!=VALUE or KEY>NUMBER; hdx runs --help)")
    key, operator, text = match[1], match[2], match[3].strip()
    check_key(key, known)
    if operator in ("=", "!="):
        wanted = [part.strip() for part in text.split(",")]
        if key == "state" and (odd := [part for part in wanted if "*" not in part and part not in STATES]):
            raise ConfigError(f"state '{odd[0]}' is unknown.{did_you_mean(odd[0], list(STATES))}  (states: {', '.join(STATES)})")
        return lambda row: any(_equal(row, key, each) for each in wanted) == (operator == "=")
    limit = _number(key, text)
    return lambda row: _is_number(found := value(row, key)) and _COMPARE[operator](found, limit)


def _number(key: str, text: str) -> float:
    match = _NUMBER.fullmatch(text)
    if match is None:
        raise ConfigError(f"{key}: expected a number, as in {key}>0.9 (or age<2d, acc_last>90%), got '{text}'")
    number, unit = float(match[1]), match[2]
    if unit == "%":
        return number / 100
    if unit and key not in TIMES:
        raise ConfigError(f"{key}: expected a number without a unit, got '{text}'; units are for {' and '.join(TIMES)}")
    return number * UNITS.get(unit, 1.0)


def _equal(row: Row, key: str, wanted: str) -> bool:
    """Whether a value is what a word says; a choice is also known by the name of the component behind it."""
    component = f"{key}.name"
    return _is(value(row, key), wanted) or component in row["options"] and _is(row["options"][component], wanted)


def _is(found: Any, wanted: str) -> bool:
    if found is None:
        return wanted in ("null", "none", "None")
    if isinstance(found, bool):
        return wanted.lower() == str(found).lower()
    if _is_number(found):
        try:
            return float(wanted) == found
        except ValueError:
            return False
    return fnmatchcase(str(found), wanted)


def _is_number(found: Any) -> bool:
    return isinstance(found, (int, float)) and not isinstance(found, bool)
