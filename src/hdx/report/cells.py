"""The cells of a table: the group of runs behind each, found on disk by its hash, and what is missing of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hdx.config import grid
from hdx.config.before import as_before
from hdx.config.config import Config
from hdx.errors import ConfigError
from hdx.report import metrics
from hdx.report.table_spec import Column, Published, Row, TableSpec
from hdx.store.files import read_json


@dataclass(frozen=True)
class Cell:
    """One row under one column.

    Attributes:
        overrides: what its runs are composed from, without the seed.
        config: of its first seed; None for a row that hdx cannot run.
        values: the metric in shown units, by seed, or by `seed/episode` in a table over episodes.
        missing: seeds without a finished run.
        failed: seed to the reason, for those of `missing` that failed.
        undefined: seeds whose run is finished and has no such number.
    """

    row: Row
    column: Column
    overrides: tuple[str, ...] = ()
    config: Config | None = None
    values: dict[int | str, float] = field(default_factory=dict)
    missing: tuple[int, ...] = ()
    failed: dict[int, str] = field(default_factory=dict)
    undefined: tuple[int, ...] = ()

    @property
    def published(self) -> Published | None:
        """The paper's number for this cell."""
        return self.row.published.get(self.column.label)

    @property
    def name(self) -> str:
        """`row, column`, for messages."""
        return f"{self.row.label}, {self.column.label}"

    def configs(self, seeds: Sequence[int]) -> list[Config]:
        """The configs of some of its seeds."""
        return [] if self.config is None else [self.config.replace(seed=seed) for seed in seeds]


def find_cells(spec: TableSpec, extra: Sequence[str] = (), config_dirs: Sequence[Path | str] = ()) -> list[Cell]:
    """Every cell of a table, rows first, with the results that are on disk.

    Args:
        extra: overrides of every cell from the command line: `output_dir=…`, `data_dir=…`, or any other.
    Raises: ConfigError with all that is wrong with the overrides of any cell; RunError for a damaged record.
    """
    configs = _compose(spec, extra, config_dirs)
    seen: dict[Path, dict[str, Any] | None] = {}
    return [
        _cell(spec, row, column, configs.get((row.label, column.label)), extra, seen)
        for row in spec.rows
        for column in spec.columns
    ]


def overrides_of(spec: TableSpec, row: Row, column: Column, extra: Sequence[str] = ()) -> tuple[str, ...]:
    """What a cell is composed from, the seed left out; presets of row and column become one `+exp=[a,b]`, the row's first."""
    words = [*(row.run or ()), *spec.set, *column.set, *extra]
    presets = [word for word in words if word.lstrip("+").startswith("exp=")]
    if len(presets) < 2:
        return tuple(words)
    names = [name.strip() for word in presets for name in word.partition("=")[2].strip("[]").split(",")]
    return (f"+exp=[{','.join(names)}]", *(word for word in words if word not in presets))


def _compose(spec: TableSpec, extra: Sequence[str], config_dirs: Sequence[Path | str]) -> dict[tuple[str, str], Config]:
    places: dict[tuple[str, ...], list[tuple[str, str]]] = {}  # columns that differ in their metric only share their runs
    for row in spec.rows:
        for column in spec.columns if row.run is not None else ():
            places.setdefault(overrides_of(spec, row, column, extra), []).append((row.label, column.label))
    found: dict[tuple[str, str], Config] = {}
    wrong: dict[str, list[tuple[str, str]]] = {}
    composed = grid.each([(*words, f"seed={spec.seeds[0]}") for words in places], config_dirs)
    for cells, result in zip(places.values(), composed):
        if isinstance(result, Config):
            found.update(dict.fromkeys(cells, result))
        else:
            for problem in result:
                wrong.setdefault(problem, []).extend(cells)
    if wrong:
        raise ConfigError([f"table {spec.name}: {_places(cells)}: {problem}" for problem, cells in wrong.items()])
    return found


def _places(cells: list[tuple[str, str]]) -> str:
    more = f" and {len(cells) - 1} more cells" if len(cells) > 1 else ""
    return f"row '{cells[0][0]}', column '{cells[0][1]}'{more}"


def _cell(
    spec: TableSpec,
    row: Row,
    column: Column,
    config: Config | None,
    extra: Sequence[str],
    seen: dict[Path, dict[str, Any] | None],
) -> Cell:
    if config is None:
        return Cell(row, column)
    metric, values, missing, undefined = metrics.find(column.metric), {}, [], []
    failed: dict[int, str] = {}
    for seed in spec.seeds:
        folder = run_folder(config, seed)
        if folder not in seen:
            seen[folder] = _record(folder)
        record = seen[folder]
        if record is None:
            missing.append(seed)
            if reason := _failure(folder):
                failed[seed] = reason
        elif numbers := _numbers(record, metric, spec.over, seed):
            values.update(numbers)
        else:
            undefined.append(seed)
    words = overrides_of(spec, row, column, extra)
    return Cell(row, column, words, config, values, tuple(missing), failed, tuple(undefined))


def run_folder(config: Config, seed: int) -> Path:
    """Where the run of a config with another seed is, finished or not."""
    named = as_before(config)
    return Path(named["output_dir"]) / "runs" / named.exp / f"{named.group_hash}-s{seed}"


def _record(folder: Path) -> dict[str, Any] | None:
    file = folder / "record.json"
    return read_json(file) if file.exists() else None


def _failure(folder: Path) -> str | None:
    """Why the run of a folder failed; None when it did not."""
    file = folder / "status.json"
    status = read_json(file) if file.exists() else {}
    return str(status.get("reason") or "no reason given") if status.get("state") == "failed" else None


def _numbers(record: dict[str, Any], metric: metrics.Metric, over: str, seed: int) -> dict[int | str, float]:
    """The metric of a run: one number, or one an episode (`record["episodes"][metric]`)."""
    if over == "episodes":
        each = (record.get("episodes") or {}).get(metric.name) or []
        return {f"{seed}/{i}": metric.scale * float(value) for i, value in enumerate(each) if value is not None}
    value = metric.of(record)
    return {} if value is None else {seed: value}
