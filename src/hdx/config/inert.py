"""A config is data: what a config may not contain, because elsewhere it makes a program run or read something."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

KEY_ADVICE = "a config is data and cannot name code to run; components are chosen by name, as in head=lda"
RESOLVER_ADVICE = "resolvers are refused, a config is data; only ${another.key} may be referred to"

_DIRECTIVE = re.compile(r"^_[a-z]+_$")  # _target_, _partial_, _recursive_, _convert_, _args_
_RESOLVER = re.compile(r"\$\{[^}]*:")


def is_directive(key: str) -> bool:
    """Whether a key is one of those that make Hydra or a loader do something."""
    return bool(_DIRECTIVE.match(key))


def offences(node: Any, prefix: str = "") -> Iterator[tuple[str, str]]:
    """`(dotted key, what is wrong)` for every directive and every resolver in an unresolved config."""
    if isinstance(node, dict):
        for key, value in node.items():
            dotted = f"{prefix}.{key}" if prefix else str(key)
            if is_directive(str(key)):
                yield dotted, KEY_ADVICE
            elif _RESOLVER.search(str(key)):
                yield dotted, RESOLVER_ADVICE
            else:
                yield from offences(value, dotted)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from offences(value, prefix)
    elif isinstance(node, str) and _RESOLVER.search(node):
        yield prefix, RESOLVER_ADVICE


def flatten(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """`(dotted key, value)` of the leaves of nested mappings; lists are leaves."""
    if isinstance(node, dict) and node:
        for key, value in node.items():
            yield from flatten(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, node
