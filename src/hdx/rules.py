"""Rules inside a component: which of its options go together. They stand on its class, beside the options that they constrain:

    rules = (one_of("size", "per_class", "bytes"), only_when("gamma", online=True))

A class and its bases are bound by all their rules. They are read from source and evaluated before anything is imported, so their
arguments are literals and `ANY` and `NOTHING`. A key is an option of the component itself (`gamma`), or an option, the name or a
fact of another one (`head.bias`, `head.name`, `head.kind`). In the words of a rule `{gamma}` stands for `method.gamma=0.9` and
`{head}` for `head=lda`.
"""

from __future__ import annotations

import json
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

ANY = "<anything>"  # a value that is neither null, false, zero nor empty
NOTHING = "<nothing>"  # one that is


@dataclass(frozen=True)
class View:
    """A config as the rules of one component see it.

    Attributes:
        data: all nodes.
        group: of the component.
        fact: group and name to a fact of the component that is chosen there; None where it has none.
        default: group and option to the option's default.
        part: key, group and node to what is wrong with a component inside the options of another; None when nothing is.
    """

    data: Mapping[str, Any]
    group: str
    fact: Callable[[str, str], Any]
    default: Callable[[str, str], Any]
    part: Callable[[str, str, Any], str | None]

    def place(self, key: str) -> tuple[str, str]:
        """Group and name of a key."""
        group, _, name = key.rpartition(".")
        return group or self.group, name

    def value(self, key: str) -> Any:
        """An option, else a fact, else None."""
        group, name = self.place(key)
        node = self.data.get(group, {})
        return node[name] if name in node else self.fact(group, name)

    def given(self, key: str) -> bool:
        """Whether an option is there and has another value than its default."""
        group, name = self.place(key)
        return name in self.data.get(group, {}) and self.value(key) != self.default(group, name)

    def shown(self, key: str) -> str:
        """`method.gamma=0.9`; of a name or a fact the component that has it: `head=lda`."""
        group, name = (key, "name") if key in self.data else self.place(key)
        node = self.data.get(group, {})
        if name == "name" or name not in node:
            return f"{group}={node.get('name')}"
        return f"{group}.{name}={word(node[name])}"

    def words(self, text: str) -> str:
        """A text with each `{key}` as it is shown."""
        return re.sub(r"\{([\w.]+)\}", lambda found: self.shown(found[1]), text)

    def holds(self, key: str, wanted: Any) -> bool:
        """Whether a value is the wanted one, or one of a tuple of them."""
        value = self.value(key)
        if isinstance(wanted, tuple):
            return any(self.holds(key, each) for each in wanted)
        if wanted in (ANY, NOTHING):
            return bool(value) == (wanted == ANY)
        return value == wanted and isinstance(value, bool) == isinstance(wanted, bool)


class Rule(ABC):
    """One rule of a component."""

    @abstractmethod
    def broken(self, view: View) -> str | None:
        """The line that says what is wrong; None when all is well."""

    @abstractmethod
    def options(self) -> tuple[str, ...]:
        """The component's own options that it is about: it says nothing of a component without them."""


@dataclass(frozen=True)
class _OneOf(Rule):
    names: tuple[str, ...]
    say: str
    none_allowed: bool

    def options(self) -> tuple[str, ...]:
        return self.names

    def broken(self, view: View) -> str | None:
        given = [name for name in self.names if view.value(name) is not None]
        if len(given) == 1 or (self.none_allowed and not given):
            return None
        shown = " and ".join(view.shown(name) for name in given)
        others = "other" if len(self.names) == 2 else "others"
        if self.none_allowed:
            return view.words(f"{shown} both {self.say}: give one, and make the {others} null")
        found = shown or ("neither" if len(self.names) == 2 else "none of them")
        more = f", and make the {others} null, as in {view.group}.{given[0]}=null" if given else ""
        return view.words(f"{{{view.group}}} {self.say}, got {found}: give one{more}")


@dataclass(frozen=True)
class _OnlyWhen(Rule):
    option: str
    conditions: Mapping[str, Any]
    why: str
    fix: str

    def options(self) -> tuple[str, ...]:
        return tuple(key for key in (self.option, *self.conditions) if "." not in key)

    def broken(self, view: View) -> str | None:
        broken = next((key for key, wanted in self.conditions.items() if not view.holds(key, wanted)), None)
        if broken is None or not view.given(self.option):
            return None
        wanted = self.conditions[broken]
        first = wanted[0] if isinstance(wanted, tuple) else wanted
        group, name = view.place(broken)
        fix = self.fix or f"take {group}.{name}={word(first)}"
        return view.words(f"{{{self.option}}} {self.why or f'has no effect with {{{broken}}}'}: leave it out, or {fix}")


@dataclass(frozen=True)
class _Alone(Rule):
    option: str
    others: tuple[str, ...]
    say: str

    def options(self) -> tuple[str, ...]:
        return (self.option, *self.others)

    def broken(self, view: View) -> str | None:
        given = [view.shown(name) for name in self.others if view.given(name)]
        if view.value(self.option) is None or not given:
            return None
        return view.words(f"{{{self.option}}} {self.say}: leave out {' and '.join(given)}, or {self.option}")


@dataclass(frozen=True)
class _Same(Rule):
    option: str
    other: str
    say: str

    def options(self) -> tuple[str, ...]:
        return (self.option,)

    def broken(self, view: View) -> str | None:
        group, name = view.place(self.other)
        if name not in view.data.get(group, {}) or view.value(self.option) == view.value(self.other):
            return None
        return view.words(f"{self.say}: take {self.other}={word(view.value(self.option))} as well")


@dataclass(frozen=True)
class _Needed(Rule):
    option: str
    how: str

    def options(self) -> tuple[str, ...]:
        return (self.option,)

    def broken(self, view: View) -> str | None:
        if view.value(self.option) is not None:
            return None
        return view.words(f"{view.group}.{self.option} must be given with {{{view.group}}}: {self.how}")


@dataclass(frozen=True)
class _Refuse(Rule):
    conditions: Mapping[str, Any]
    say: str

    def options(self) -> tuple[str, ...]:
        return tuple(key for key in self.conditions if "." not in key)

    def broken(self, view: View) -> str | None:
        return view.words(self.say) if all(view.holds(key, wanted) for key, wanted in self.conditions.items()) else None


@dataclass(frozen=True)
class _Part(Rule):
    option: str
    group: str

    def options(self) -> tuple[str, ...]:
        return (self.option,)

    def broken(self, view: View) -> str | None:
        node = view.value(self.option)
        return None if node is None else view.part(f"{view.group}.{self.option}", self.group, node)


def one_of(*options: str, say: str = "") -> Rule:
    """Exactly one of the options is not null. `say`: `is bounded by one of size and bytes`."""
    return _OneOf(options, say or f"takes one of {', '.join(options[:-1])} and {options[-1]}", none_allowed=False)


def at_most_one(*options: str, say: str) -> Rule:
    """At most one of the options is not null. `say`: what they both do."""
    return _OneOf(options, say, none_allowed=True)


def only_when(
    option: str, elsewhere: Mapping[str, Any] | None = None, *, why: str = "", fix: str = "", **conditions: Any
) -> Rule:
    """An option keeps its default unless all conditions hold: key to value, or to a tuple of values.

    Args:
        elsewhere: conditions on other components, by dotted keys.
        why: follows `{option}` in the line; what it says of itself is that it has no effect.
        fix: what to do instead of leaving the option out; the first value of the condition that does not hold is proposed else.
    """
    return _OnlyWhen(option, {**conditions, **(elsewhere or {})}, why, fix)


def alone(option: str, *others: str, say: str) -> Rule:
    """Where an option is not null the others keep their defaults. `say`: what it does, that they would do as well."""
    return _Alone(option, others, say)


def same(option: str, other: str, *, say: str) -> Rule:
    """An option has the value that another component's option of that name has, where there is one."""
    return _Same(option, other, say)


def needed(option: str, how: str) -> Rule:
    """An option is not null. `how`: examples of giving it."""
    return _Needed(option, how)


def refuse(conditions: Mapping[str, Any], say: str) -> Rule:
    """A config in which all conditions hold makes no sense; `say` is the line."""
    return _Refuse(conditions, say)


def part(option: str, group: str) -> Rule:
    """An option is null or the node of a component: a mapping with its name and options."""
    return _Part(option, group)


#: What may stand in `rules`.
CONSTRUCTORS = {rule.__name__: rule for rule in (one_of, at_most_one, only_when, alone, same, needed, refuse, part)}


def word(value: Any) -> str:
    """A value as it is typed on a command line: null, true, [a,b]."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return f"[{','.join(word(each) for each in value)}]"
    return json.dumps(value, ensure_ascii=False) if value is None or isinstance(value, bool) else str(value)
