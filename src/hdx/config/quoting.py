"""Words that Hydra's grammar does not take as they were meant: one line that shows the word as it should be typed."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

FUNCTIONS = {
    "choice": "choice(a,b)",
    "range": "range(start,stop,step)",
    "glob": "glob(pattern)",
    "interval": "interval(low,high)",
    "shuffle": "shuffle(a,b)",
    "sort": "sort(a,b)",
    "tag": "tag(name,a,b)",
    **{kind: f"{kind}(value)" for kind in ("int", "float", "bool", "str", "json_str", "extend_list")},
}
_UNQUOTED = re.compile(r"[A-Za-z0-9_\-/.+%*@?|$:\\ ]")  # characters that a value may have without quotes
_KEY = re.compile(r"(?:\+{0,2}|~)[A-Za-z_][\w./@-]*=")


@lru_cache(maxsize=1)
def _parser() -> Any:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    return OverridesParser.create()


def parsed(text: str) -> Override | None:
    """The override, or None where the grammar has no place for it."""
    from hydra.errors import HydraException

    try:
        return _parser().parse_override(text)  # type: ignore[no-any-return]
    except (HydraException, ValueError, ArithmeticError):
        return None


def plain(text: str) -> str:
    """The value of `key=value`, without the grammar's quotes where it has them."""
    override = parsed(text)
    value = None if override is None else override.value()
    return value if isinstance(value, str) else text.partition("=")[2]


def quoted(key: str, value: str) -> str | None:
    """`'key="value"'`: what to type in a shell for exactly this value; None where no quoting says it."""
    for quote in '"', "'":
        inner = re.sub(rf"(\\*)(?={quote}|$)", r"\1\1", value).replace(quote, f"\\{quote}")
        word = f"{key}={quote}{inner}{quote}"
        override = parsed(word)
        if override is not None and override.value() == value:
            return shlex.quote(word)
    return None


def split(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Words without those that a space tore apart (`seed = 3`, `[1, 2]`), and a line for each of these."""
    kept: list[str] = []
    problems = []
    at = 0
    while at < len(words):
        end = _torn(words, at)
        if end == at + 1:
            kept.append(words[at])
        else:
            problems.append(f"'{' '.join(words[at:end])}' is torn apart at a space: write {_typed(_joined(words[at:end]))}")
        at = end
    return kept, problems


def _torn(words: Sequence[str], at: int) -> int:
    """Where the word that begins at `at` ends; more than one further where only all of them together are an override."""
    first = words[at]
    for end in range(len(words), at + 1, -1):  # a path that is there
        if "/" in first and not any("=" in word for word in words[at + 1 : end]) and _names_a_file(_joined(words[at:end])):
            return end
    follows = words[at + 1] if at + 1 < len(words) else ""
    spaced = follows[:1] == "=" if "=" not in first else first.endswith("=") and follows and "=" not in follows
    if not spaced and (not _KEY.match(first) or not _open(first) or parsed(first) is not None):
        return at + 1
    for end in range(at + 2, len(words) + 1):
        whole = _joined(words[at:end])
        if whole[-1:] != "=" and not _open(whole) and parsed(whole) is not None:
            return end
        if _KEY.match(words[end - 1]) and not spaced:
            break
    return at + 1


def _names_a_file(word: str) -> bool:
    return Path(word.partition("=")[2]).expanduser().exists()


def _joined(words: Sequence[str]) -> str:
    """One word of several, without spaces around the first `=`."""
    return re.sub(r"^(\S+?)\s*=\s*", r"\1=", " ".join(words))


def _typed(word: str) -> str:
    """How to type a word that parses: for a shell, and in double quotes where it has spaces."""
    override = parsed(word)
    value = None if override is None else override.value()
    inner = quoted(word.partition("=")[0], value) if isinstance(value, str) and " " in value else None
    return inner or shlex.quote(word)


def _open(text: str) -> bool:
    """Whether brackets or quotes are opened that are not closed."""
    return any(text.count(a) > text.count(b) for a, b in ("[]", "()", "{}")) or any(text.count(quote) % 2 for quote in "\"'")


def advice(text: str) -> str:
    """The line for a word that does not parse."""
    if "=" not in text and not text.startswith("~"):
        meant = re.sub(r"^([\w./]+):\s*", r"\1=", text)
        near = f". Did you mean {shlex.quote(meant)}?" if meant != text else ""
        return f"'{text}' is no override: expected key=value, +key=value, ++key=value or ~key{near}"
    key, _, value = text.partition("=")
    if (whole := _joined([text])) != text and parsed(whole) is not None:
        return f"'{text}' has spaces around =: write {_typed(whole)}"
    if not _KEY.match(f"{key}="):
        return f"'{text}' is no override: '{key}' is no key; expected key=value, as in seed=1 or head.ridge=0.1"
    if len(pieces := text.split()) > 1 and all(map(_KEY.match, pieces)):
        return f"'{text}' are {len(pieces)} overrides in one word: write {' '.join(map(shlex.quote, pieces))}"
    if (call := re.match(r"(\w+)\(", value)) and (alike := difflib.get_close_matches(call[1], FUNCTIONS, 1, 0.75)):
        return _of_function(text, call[1], alike[0])
    what, fixed = _repaired(key, value)
    return f"'{text}' does not follow Hydra's grammar ({what}): write {fixed or 'the value in quotes'}"


def _of_function(text: str, name: str, near: str) -> str:
    if name != near:
        return f"'{text}' does not follow Hydra's grammar: it has no {name}(). Did you mean '{near}'?"
    return f"'{text}' does not follow Hydra's grammar: expected {FUNCTIONS[name]}"


def _repaired(key: str, value: str) -> tuple[str, str | None]:
    """What is wrong with a value, and the whole word as it should be typed."""
    for what, other in (("== for =", value.lstrip("=")), ("a comma at the end", value.rstrip(", ")), *_closed(value)):
        if other and other != value and parsed(f"{key}={other}") is not None:
            return what, shlex.quote(f"{key}={other}")
    if value[:1] == "[" and value[-1:] == "]":
        items = ",".join(_item(item) for item in re.split(r",\s*", value[1:-1]))
        if parsed(f"{key}=[{items}]") is not None:
            return f"{_culprit(value[1:-1])} inside a list", shlex.quote(f"{key}=[{items}]")
    if value[:1] in "\"'" and value.count(value[0]) == 1:
        return "a quote that is not closed", quoted(key, value[1:])
    if value[-1:] in "\"'" and value.count(value[-1]) == 1:
        return "a quote that is not opened", quoted(key, value[:-1])
    return f"{_culprit(value)} inside a value", quoted(key, value)


def _closed(value: str) -> list[tuple[str, str]]:
    """A list or mapping with the bracket that it lacks."""
    pairs = [("]", value.count("[") - value.count("]")), ("}", value.count("{") - value.count("}"))]
    return [(f"a missing {end}", value + end) for end, lacking in pairs if lacking == 1 and value[:1] in "[{"]


def _item(item: str) -> str:
    return item if parsed(f"x={item}") is not None and item else f'"{item}"'


def _culprit(value: str) -> str:
    """The first character that a value has only in quotes."""
    found = next((character for character in value if not _UNQUOTED.match(character)), "")
    return f"'{found}'" if found else "its characters"
