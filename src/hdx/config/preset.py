"""Which parts a preset is made of, and which of them a command exchanged: such a run is no longer what the preset's name says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from hdx.config import files

DEFINING = ("method", "head", "adapter", "memory", "loss", "protocol")  # groups whose choice is what a preset is about


def parts_of(names: Sequence[str], folders: Sequence[Path]) -> dict[str, str]:
    """Group to the config file that presets choose in it, of `DEFINING`; of several presets the last word holds."""
    found: dict[str, str] = {}
    for name in names:
        file = files.path("exp", name, folders)
        for entry in (files.read_plain(file).get("defaults") or []) if file else []:
            if isinstance(entry, str) and entry != "_self_":
                found |= parts_of([entry], folders)
            elif isinstance(entry, dict):
                for key, value in entry.items():
                    group = str(key).removeprefix("override ").strip().lstrip("/").partition("@")[0]
                    found |= {group: str(value)} if group in DEFINING else {}
    return found


def exchanged(parts: Mapping[str, str], choices: Mapping[str, str]) -> dict[str, str]:
    """Of the parts of a preset those that were not chosen in the end."""
    return {group: name for group, name in parts.items() if choices.get(group, name) != name}
