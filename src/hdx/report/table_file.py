"""Reads `conf/table/NAME.yaml`: what is misspelt, missing or of the wrong kind is reported, all at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from hdx.config import files, paths
from hdx.errors import ConfigError
from hdx.registry import did_you_mean
from hdx.report import metrics
from hdx.report.table_spec import CERTAINTIES, OVER, Column, Published, Row, TableSpec

TABLE_KEYS = ("title", "caption", "metric", "over", "set", "seeds", "compare_to", "unavailable", "columns", "rows")
ROW_KEYS = ("label", "run", "published", "section")
COLUMN_KEYS = ("label", "set", "metric")
PUBLISHED_KEYS = ("value", "ci", "paper", "table", "setting", "metric", "certainty")
OURS = ("seed", "output_dir", "data_dir")  # given by `seeds` and on the command line


def read_table(name: str, config_dirs: Sequence[Path | str] = ()) -> TableSpec:
    """The table of that name. Raises: ConfigError when there is none, or with everything that is wrong in its file."""
    folders = paths.config_dirs(config_dirs)
    file = files.path("table", name, folders)
    if file is None:
        known = files.names("table", folders)
        raise ConfigError(f"table '{name}' is unknown.{did_you_mean(name, known)}  (hdx list table)")
    check = _Check(paths.label(file))
    spec = _table(name.removesuffix(".yaml"), file, _load(file), check)
    if check.problems:
        raise ConfigError(check.problems)
    return spec


class _Loader(yaml.SafeLoader):
    """Plain YAML that refuses a key given twice: the first of two published numbers would be lost without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.MarkedYAMLError(problem=f"key '{key.value}' is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _load(file: Path) -> dict[str, Any]:
    label = paths.label(file)
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=_Loader)  # a SafeLoader: plain data only
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        raise ConfigError(f"{label}{line}: {getattr(error, 'problem', None) or error}; a table is plain YAML") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{label} cannot be read: {error}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{label}: expected a mapping with {', '.join(TABLE_KEYS)}, got {type(content).__name__}")
    return content


class _Check:
    """Takes values out of nested YAML and remembers what is wrong with them."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.problems: list[str] = []

    def say(self, place: str, what: str) -> None:
        self.problems.append(f"{self.label}: {place}: {what}")

    def keys(self, node: dict[Any, Any], allowed: Sequence[str], place: str) -> None:
        for key in node:
            if key not in allowed:
                self.say(place, f"key '{key}' is unknown.{did_you_mean(str(key), list(allowed))}  (one of {', '.join(allowed)})")

    def mapping(self, value: Any, place: str) -> dict[Any, Any]:
        if value is None or isinstance(value, dict):
            return value or {}
        self.say(place, f"expected a mapping, got {value!r}")
        return {}

    def items(self, value: Any, place: str) -> list[Any]:
        if isinstance(value, list) and value:
            return value
        self.say(place, f"expected a list with at least one entry, got {value!r}")
        return []

    def text(self, node: dict[Any, Any], key: str, place: str, required: bool = True) -> str | None:
        value = node.get(key)
        if value is None and not required:
            return None
        if isinstance(value, (str, int, float)) and not isinstance(value, bool) and str(value).strip():
            return self.printable(str(value), f"{place}.{key}" if place else key)
        self.say(f"{place}.{key}" if place else key, f"expected text, got {value!r}")
        return ""

    def printable(self, value: str, place: str) -> str:
        if all(character.isprintable() or character == "\n" for character in value):
            return " ".join(value.split())
        self.say(place, "contains characters that cannot be printed")
        return ""

    def number(self, node: dict[Any, Any], key: str, place: str, required: bool = True) -> float | None:
        value = node.get(key)
        if value is None and not required:
            return None
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value == value and abs(value) != float("inf"):
            return float(value)
        self.say(place, f"{key} must be given as a number, got {value!r}")
        return 0.0

    def overrides(self, value: Any, place: str) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            self.say(place, f"expected a list of overrides such as [+exp=fsa_film, head=lda], got {value!r}")
            return ()
        for item in value:
            if (key := item.lstrip("+~").partition("=")[0]) in OURS:
                how = "the table's `seeds` say which" if key == "seed" else f"give it on the command line: hdx table NAME {key}=…"
                self.say(place, f"'{item}' cannot be set in a table; {how}")
        return tuple(value)

    def metric(self, name: Any, place: str) -> str:
        if not isinstance(name, str) or name not in metrics.METRICS:
            self.say(place, metrics.unknown(str(name)))
            return next(iter(metrics.METRICS))
        return name

    def choice(self, value: Any, allowed: Sequence[str], key: str, place: str) -> str:
        if value not in allowed:
            near = did_you_mean(str(value), list(allowed))
            self.say(place, f"{key} '{value}' is unknown.{near}  (one of {', '.join(allowed)})")
            return allowed[0]
        return str(value)

    def unique(self, labels: Sequence[str], place: str) -> None:
        for label in sorted({label for label in labels if labels.count(label) > 1}):
            self.say(place, f"label '{label}' is given twice")


def _table(name: str, file: Path, node: dict[str, Any], check: _Check) -> TableSpec:
    check.keys(node, TABLE_KEYS, "table")
    metric = check.metric(node.get("metric"), "metric")
    columns = [
        _column(value, f"columns[{i}]", metric, check) for i, value in enumerate(check.items(node.get("columns"), "columns"))
    ]
    labels = [column.label for column in columns]
    rows = [_row(value, f"rows[{i}]", labels, check) for i, value in enumerate(check.items(node.get("rows"), "rows"))]
    check.unique(labels, "columns")
    check.unique([row.label for row in rows], "rows")
    caption = node.get("caption") or []
    lines = caption if isinstance(caption, list) else [caption]
    compare_to = check.text(node, "compare_to", "", required=False)
    if compare_to is not None:
        _check_reference(compare_to, rows, check)
    return TableSpec(
        name=name,
        file=file,
        title=check.text(node, "title", "") or "",
        caption=tuple(check.printable(str(line), "caption") for line in lines),
        metric=metric,
        over=check.choice(node.get("over", "seeds"), OVER, "over", "over"),
        set=check.overrides(node.get("set") or [], "set"),
        rows=tuple(rows),
        columns=tuple(columns),
        seeds=_seeds(node.get("seeds", [0, 1, 2]), check),
        compare_to=compare_to,
        unavailable=check.text(node, "unavailable", "", required=False),
    )


def _check_reference(label: str, rows: list[Row], check: _Check) -> None:
    runnable = [row.label for row in rows if row.run is not None]
    if label not in [row.label for row in rows]:
        check.say("compare_to", f"row '{label}' is unknown.{did_you_mean(label, runnable)}  (the label of a row)")
    elif label not in runnable:
        check.say("compare_to", f"row '{label}' has run: null, and differences are paired with runs")


def _column(value: Any, place: str, metric: str, check: _Check) -> Column:
    node = check.mapping(value, place)
    check.keys(node, COLUMN_KEYS, place)
    own = node.get("metric")
    return Column(
        label=check.text(node, "label", place) or "",
        set=check.overrides(node.get("set") or [], f"{place}.set"),
        metric=metric if own is None else check.metric(own, f"{place}.metric"),
    )


def _row(value: Any, place: str, columns: list[str], check: _Check) -> Row:
    node = check.mapping(value, place)
    check.keys(node, ROW_KEYS, place)
    label = check.text(node, "label", place) or ""
    place = f"row '{label}'" if label else place
    if "run" not in node:
        check.say(place, "run must be given: a list of overrides, or null for a row with published numbers only")
    published = {}
    for column, number in check.mapping(node.get("published"), f"{place}.published").items():
        if column not in columns:
            check.say(
                f"{place}.published",
                f"column '{column}' is unknown.{did_you_mean(str(column), columns)}  (the label of a column)",
            )
        published[str(column)] = _published(number, f"{place}.published.{column}", check)
    run = node.get("run")
    return Row(
        label=label,
        run=None if run is None else check.overrides(run, f"{place}.run"),
        published=published,
        section=check.text(node, "section", place, required=False),
    )


def _published(value: Any, place: str, check: _Check) -> Published:
    node = check.mapping(value, place)
    check.keys(node, PUBLISHED_KEYS, place)
    return Published(
        value=check.number(node, "value", place, required="value" not in node),
        ci=check.number(node, "ci", place, required=False),
        paper=check.text(node, "paper", place) or "",
        table=check.text(node, "table", place, required=False),
        setting=check.text(node, "setting", place) or "",
        metric=check.metric(node.get("metric"), f"{place}.metric"),
        certainty=check.choice(node.get("certainty"), tuple(CERTAINTIES), "certainty", place),
    )


def _seeds(value: Any, check: _Check) -> tuple[int, ...]:
    wanted = check.items(value, "seeds")
    if not all(isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**63 for seed in wanted):
        check.say("seeds", f"expected a list of different integers in [0, 2^63), got {value!r}")
        return ()
    if len(set(wanted)) != len(wanted):
        check.say("seeds", f"expected a list of different integers in [0, 2^63), got {value!r}")
    return tuple(wanted)
