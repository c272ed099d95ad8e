"""The files that a component reads, and what they hold. No torch, and nothing is read but bytes.

An option marked as a `FilePath` names a file or folder. A class says in `looked_for` what it looks for under the folder of
datasets where such an option is null (or, of an option that is no path, where it is given), the first that is there; in `beside`
what is read next to a folder of that name; in `known` the sha256 of the files that hdx's own results were made with; in `parts`
which of its options name other datasets.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hdx import content, digest
from hdx.config import schema
from hdx.config.paths import data_folder, located


@dataclass(frozen=True)
class Read:
    """Something that a component reads.

    Attributes:
        option: the option that names it, or that leaves it to be looked for.
        given: whether the option names it.
        places: the file or folder, several where they belong together; empty where there is none.
        name: of what was asked for.
    """

    option: str
    given: bool
    places: tuple[Path, ...]
    name: str

    @property
    def digest(self) -> str | None:
        """Of what it holds; None where it is not there. Raises: DataError when it cannot be read."""
        if len(self.places) < 2:
            return content.of(self.places[0]) if self.places else None
        return digest.of_json([[place.name, content.of(place)] for place in self.places])


def reads(group: str, node: dict[str, Any], data_dir: str | None) -> Iterator[Read]:
    """What a component reads, in the order of its options, without what its `parts` read."""
    info = schema.describe(group, node["name"])
    wanted = info.facts.get("looked_for", {})
    for option in info.options:
        if "unhashed" in option.marks:
            continue
        value, is_path = node.get(option.name, option.default), "file" in option.marks
        if is_path and value is not None:
            for path in [value] if isinstance(value, str) else value:
                place = Path(located(path, data_dir)).expanduser()
                yield Read(option.name, True, _with_siblings(place, info.facts.get("beside", {})), place.name)
        elif wanted.get(option.name) and is_path == (value is None):
            found = _first(wanted[option.name], data_dir)
            places = () if found is None else _with_siblings(found, info.facts.get("beside", {}))
            yield Read(option.name, False, places, option.name if found is None else found.name)


def parts(group: str, node: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """`(option, node)` of the components of the same group that a component is made of, named or given with their options."""
    for option in schema.describe(group, node["name"]).facts.get("parts", ()):
        if (chosen := node[option]) is not None:
            yield option, chosen if isinstance(chosen, dict) else {"name": chosen}


def _first(names: tuple[str, ...], data_dir: str | None) -> Path | None:
    """The first of `names` that is there under the folder of datasets."""
    folder = data_folder(data_dir)
    return None if folder is None else next((folder / name for name in names if (folder / name).exists()), None)


def _with_siblings(place: Path, beside: dict[str, tuple[str, ...]]) -> tuple[Path, ...]:
    """A path that is there, with what is read beside one of its name; empty where it is not there."""
    both = (place, *(place.parent / name for name in beside.get(place.name, ())))
    return tuple(each for each in both if each.exists()) if place.exists() else ()
