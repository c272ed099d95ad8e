"""A checked config: what a run is built from, and what is written into its directory."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from hdx.config import identity
from hdx.store.files import write_bytes


@dataclass(frozen=True)
class Config:
    """The resolved config of one run.

    Attributes:
        data: plain mappings, lists and scalars: one node for each group (`name` and its options), and the run options.
        exp: name of the preset, several joined with `+`, or `custom`.
        choices: group to the name of the chosen config file.
        saved_hash: `group_hash` as it was when the config was saved; empty for a new one.
        contents: what its files held when the run began, as `inputs.found` has it; empty for a new one.
        exchanged: group to what the preset chooses in it, where the command chose something else (`hdx.config.preset`).
        teacher_of: how the loader resolves the teacher that a config names by its words.
    """

    data: dict[str, Any]
    exp: str = "custom"
    choices: dict[str, str] = field(default_factory=dict)
    saved_hash: str = ""
    contents: dict[str, str] = field(default_factory=dict)
    exchanged: dict[str, str] = field(default_factory=dict)
    teacher_of: Callable[[dict[str, Any]], Config | None] | None = field(default=None, compare=False, repr=False)

    @cached_property
    def teacher(self) -> Config | None:
        """The run that `teacher.overrides` names; None where they name none. Raises: ConfigError when its words make no sense."""
        return None if self.teacher_of is None else self.teacher_of(self.data)

    @property
    def taught(self) -> str:
        """What that run is, `<hash>-s<seed>`; empty where there is none."""
        return "" if self.teacher is None else f"{self.teacher.group_hash}-s{self.teacher['seed']}"

    @cached_property
    def group_hash(self) -> str:
        """Eight hex digits that all seeds of this config share (`identity.group_hash`)."""
        return self.saved_hash or identity.group_hash(self.data, self.taught)

    @property
    def run_id(self) -> str:
        """`<exp>/<hash>-s<seed>`: the place of the run under `<output_dir>/runs`."""
        return f"{self.exp}/{self.group_hash}-s{self.data['seed']}"

    def __getitem__(self, key: str) -> Any:
        """A node or a run option, or by a dotted key an option: `config["head.ridge"]`."""
        node: Any = self.data
        for part in key.split("."):
            node = node[part]
        return node

    def replace(self, **values: Any) -> Config:
        """A copy with other run options; the group stays the same when they are among those that no hash sees."""
        data = {**copy.deepcopy(self.data), **values}
        kept = self.saved_hash if not any(map(identity.hashed, values)) else ""
        held = dict(self.contents) if kept else {}
        return Config(data, self.exp, dict(self.choices), kept, held, dict(self.exchanged), self.teacher_of)

    def to_yaml(self) -> str:
        """The resolved config as YAML, in the order of the config files."""
        return _dump(self.data)

    def save(self, path: Path | str) -> None:
        """Write what `validate.load_saved` reads; above the config stand preset, hash, what files held and choices."""
        mark = {"exchanged": self.exchanged} if self.exchanged else {}
        head = {"exp": self.exp, **mark, "group": self.group_hash, "contents": self.contents, "choices": self.choices}
        write_bytes(Path(path), (_dump(head) + self.to_yaml()).encode())


def _dump(data: dict[str, Any]) -> str:
    """YAML with one line for each option: mappings as blocks, lists in brackets."""
    import yaml

    class Dumper(yaml.SafeDumper):
        pass

    Dumper.add_representer(list, lambda dumper, items: dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True))
    return yaml.dump(data, Dumper=Dumper, sort_keys=False, allow_unicode=True, default_flow_style=False, width=1000)
