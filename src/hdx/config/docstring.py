"""What a class docstring says: its summary, its source, and the meaning of each option."""

from __future__ import annotations

import inspect
import re

_SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields|Note|Notes|Example|Examples):\s*$")
_LABEL = re.compile(r"^[A-Z][a-z]+: ")  # continuations are indented or start small
_ENTRY = re.compile(r"^\s{1,8}(\*{0,2}\w+(?:\s*,\s*\w+)*)(?:\s*\([^)]*\))?:\s*(.*)$")


def summary(doc: str) -> str:
    """The first line, without its full stop."""
    lines = inspect.cleandoc(doc).splitlines()
    return lines[0].strip().removesuffix(".") if lines else ""


def source(doc: str) -> str:
    """The text of the line `Source: …`."""
    return labelled(doc, "Source")


def labelled(doc: str, label: str) -> str:
    """The text of the line `label: …` and of the lines that continue it, up to a blank one, a section or another label."""
    found: list[str] = []
    for line in inspect.cleandoc(doc).splitlines():
        if found and (not line.strip() or _SECTION.match(line) or _LABEL.match(line)):
            break
        if found:
            found.append(line.strip())
        elif line.startswith(f"{label}:"):
            found.append(line.removeprefix(f"{label}:").strip())
    return " ".join(found)


def arguments(doc: str) -> dict[str, str]:
    """`{name: meaning}` of the `Args:` section; `a, b: meaning` gives both the same one."""
    meanings: dict[str, str] = {}
    current: list[str] = []
    indent = 0
    for line in _section(doc, "Args"):
        entry = _ENTRY.match(line)
        depth = len(line) - len(line.lstrip())
        if entry and (not current or depth <= indent):
            indent = depth
            current = [name.strip().lstrip("*") for name in entry[1].split(",")]
            meanings.update({name: entry[2].strip() for name in current})
        else:
            meanings.update({name: f"{meanings[name]} {line.strip()}".strip() for name in current})
    return meanings


def _section(doc: str, title: str) -> list[str]:
    lines = inspect.cleandoc(doc).splitlines()
    starts = [i for i, line in enumerate(lines) if line.strip() == f"{title}:"]
    if not starts:
        return []
    body = []
    for line in lines[starts[0] + 1 :]:
        if line.strip() and not line.startswith(" "):
            break
        if line.strip():
            body.append(line)
    return body
