"""Groups of runs (one config, several seeds) with labels that say how they differ: what a plot shows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdx.config.identity import unhashed
from hdx.errors import RunError
from hdx.report.cells import Cell, run_folder
from hdx.store.files import read_json

#: Options that tell groups apart, the most telling first; what is not named here comes after them.
TELLING = ("head", "adapter", "method", "backbone", "dataset", "protocol.shots", "protocol.first", "protocol.step", "exp")


@dataclass(frozen=True)
class Group:
    """The finished runs of one config.

    Attributes:
        label: what tells it from the other groups of a plot.
        options: dotted config option to value, and `head`, `adapter`, … to the names chosen.
        records: run record by seed.
        series: label of the table's row; empty for runs that come from no table.
    """

    label: str
    options: dict[str, Any] = field(default_factory=dict)
    records: dict[int, dict[str, Any]] = field(default_factory=dict)
    series: str = ""


def of_rows(rows: Sequence[Mapping[str, Any]]) -> list[Group]:
    """Groups of the finished runs among rows of the index, in the order of their labels."""
    found: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["state"] == "finished":
            found.setdefault((row["exp"], row["group"]), []).append(row)
    options = [_options(runs[0]) for runs in found.values()]
    labels = distinguish(options, [f"{exp}/{group}" for exp, group in found])
    groups = []
    for label, known, runs in zip(labels, options, found.values()):
        records = {int(row["seed"]): read_json(Path(row["dir"]) / "record.json") for row in runs}
        groups.append(Group(label, known, dict(sorted(records.items()))))
    return sorted(groups, key=lambda group: group.label)


def of_cells(cells: Iterable[Cell]) -> list[Group]:
    """A group for each cell of a table that has finished runs, labelled by its row, its column, or both."""
    cells = [cell for cell in cells if cell.config is not None]
    rows, columns = {cell.row.label for cell in cells}, {cell.column.set for cell in cells}  # columns of one run differ in metric
    groups: dict[tuple[str, ...], Group] = {}
    for cell in cells:
        assert cell.config is not None
        seeds = {int(str(key).partition("/")[0]) for key in cell.values}
        if not seeds:
            continue
        words = [*([cell.row.label] if len(rows) > 1 else []), *([cell.column.label] if len(columns) > 1 else [])]
        records = {seed: read_json(run_folder(cell.config, seed) / "record.json") for seed in sorted(seeds)}
        options = dict(_flat(cell.config.data)) | dict(cell.config.choices) | {"exp": cell.config.exp}
        groups.setdefault(cell.overrides, Group(", ".join(words) or cell.row.label, options, records, cell.row.label))
    return list(groups.values())


def require(groups: list[Group]) -> list[Group]:
    """The groups. Raises: RunError when there is none."""
    if not groups:
        raise RunError(
            "nothing to plot: no finished run fits  (hdx runs shows what there is; hdx table NAME --run fills a table)"
        )
    return groups


def on_episodes(group: Group) -> bool:
    """Whether the runs of a group were scored on episodes, and so have no sessions."""
    return any("episodes" in record for record in group.records.values())


def of_sessions(groups: list[Group]) -> list[Group]:
    """The groups that have sessions. Raises: RunError when none has."""
    found = [group for group in groups if not on_episodes(group)]
    if not found:
        raise RunError(
            "nothing to plot: runs on episodes have no sessions  (hdx plot shots, cost or parameters shows their accuracy)"
        )
    return found


def _options(row: Mapping[str, Any]) -> dict[str, Any]:
    names = ("dataset", "backbone", "pool", "adapter", "head", "method", "protocol")
    return {**row["options"], **{name: row[name] for name in names}, "exp": row["exp"]}


def _flat(node: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, Any]]:
    for key, value in node.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def distinguish(options: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[str]:
    """For each group the options that tell it from the others: as few as do, the most telling first.

    Args:
        names: what a group is called when its options do not tell it apart, or when it is the only one.
    """
    if len(options) == 1:
        return [str(options[0].get("exp") or names[0])]
    keys: list[str] = []
    for key in _candidates(options):
        texts = [_text(keys, known) for known in options]
        more = [_text([*keys, key], known) for known in options]
        if len(set(texts)) == len(options):
            break
        if len(set(more)) > len(set(texts)):
            keys.append(key)
    labels = [_text(keys, known) for known in options]
    return labels if len(set(labels)) == len(labels) else [f"{label} {name}".strip() for label, name in zip(labels, names)]


def _candidates(options: Sequence[Mapping[str, Any]]) -> list[str]:
    known = sorted({key for each in options for key in each})
    rest = [key for key in known if key.partition(".")[0] not in unhashed() and not key.endswith(".name") and key not in TELLING]
    differing = [key for key in (*TELLING, *rest) if len({repr(each.get(key)) for each in options}) > 1]
    return differing


def _text(keys: Sequence[str], options: Mapping[str, Any]) -> str:
    return ", ".join(_word(key, options[key]) for key in keys if options.get(key) is not None)


def _word(key: str, value: Any) -> str:
    if key == "protocol.shots":
        return f"{value} shot{'' if value == 1 else 's'}"
    return str(value) if "." not in key else f"{key.partition('.')[2]}={value}"
