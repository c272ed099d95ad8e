"""A grid of runs: Hydra's sweep grammar to checked configs, a thousand in seconds.

Composing costs a tenth of a second, so each combination of presets is composed once. Other parts are put in its place
where their file decides alone what stands there, values are laid over the result, and everything is judged by the same
validation. What is not that plain (interpolations, `~key`, files with defaults of their own) is composed in full.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hdx import registry
from hdx.config import files, inert, overrides, paths, quoting, ranges, sweeps
from hdx.config.compose import COMMAND_LINE, Composed, attempt
from hdx.config.config import Config
from hdx.config.validate import config_of, judge, load
from hdx.errors import ConfigError

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

MOST_RUNS = 100_000
EXAMPLES = 3


@dataclass(frozen=True)
class Planned:
    """One run of a grid, and the overrides that `hdx train` would make it with."""

    config: Config
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Grid:
    """What a sweep consists of.

    Attributes:
        runs: in the order of the grid (the last override varies fastest), each run once.
        name: of the named grid, or empty.
        dropped: a line for each reason why combinations were left out (`skip_invalid`, or the same run twice).
    """

    runs: list[Planned]
    name: str = ""
    dropped: list[str] = field(default_factory=list)


def expand(arguments: Sequence[str], config_dirs: Sequence[Path | str] = (), *, skip_invalid: bool = False) -> Grid:
    """All runs of a grid, each with a checked config.

    Args:
        arguments: overrides, some of them sweeps: `a,b`, `choice(a,b)`, `range(5)`, `glob(*)`, `+exp=a,b`, `+sweep=NAME`.
        config_dirs: as in `compose`.
        skip_invalid: leave out combinations that make no sense together, instead of refusing the grid.

    Raises: ConfigError with everything that is wrong, each line once with the number of runs that it concerns.
    """
    folders = paths.config_dirs(config_dirs)
    words, name = sweeps.unfold(arguments, folders)
    axes, problems, spoilt = _axes(words, folders)
    count = math.prod(len(axis) for axis in axes)
    if count > MOST_RUNS:
        raise ConfigError([*problems, f"the grid has {count:,} runs; expected at most {MOST_RUNS:,}: split it"])
    composer = _Composer(folders, config_dirs, spoilt)
    problems += composer.read_words(axes)
    judged = [_Judged(combination, *composer.judge(combination)) for combination in itertools.product(*axes)]
    runs, dropped, refused = _sift(judged, skip_invalid)
    if problems or refused:
        raise ConfigError(list(dict.fromkeys([*problems, *refused])))
    if not runs:
        raise ConfigError(["no combination of the grid makes sense", *dropped])
    return Grid(runs, name, dropped)


def _axes(words: Sequence[str], folders: Sequence[Path]) -> tuple[list[list[str]], list[str], set[str]]:
    """For each override the single values that it takes; what is wrong with the sweeps, and the keys of these."""
    whole, problems = quoting.split(words)
    axes: list[list[str]] = []
    spoilt = {sweeps.key_of(word) for word in words if word not in whole}
    for text in whole:
        text = f"+{text}" if text.startswith("exp=") else text
        override = quoting.parsed(text)
        try:
            swept = override is not None and override.is_sweep_override()  # None: `overrides.plan` knows what is wrong with it
            axes.append(_alternatives(override, folders) if override is not None and swept else [text])
        except ConfigError as error:
            problems += error.problems
            spoilt.add(sweeps.key_of(text))
    return axes, problems, spoilt


def _alternatives(override: Override, folders: Sequence[Path]) -> list[str]:
    from hydra.core.override_parser.types import Glob, RangeSweep

    key, text = override.get_key_element(), str(override.input_line)
    if override.is_interval_sweep():
        raise ConfigError(f"'{text}': an interval has no end of values; write range(start,stop,step) or choice(a,b)")
    chosen: Any = override.value()
    if isinstance(chosen, Glob):
        group = override.key_or_group
        known = files.names(group, folders)
        if not known:
            raise ConfigError(f"'{text}': glob() chooses among config files, and {group} is no group  (hdx list)")
        values = chosen.filter(known)
        advice = f"one of {', '.join(known)}"
    elif isinstance(chosen, RangeSweep):
        values = list(map(str, ranges.numbers(chosen, text, MOST_RUNS)))
        advice = "range(start,stop,step) with start before stop"
    else:
        values = list(override.sweep_string_iterator())
        advice = f"{key}=a,b"
    if not values:
        raise ConfigError(f"'{text}' has no values; expected {advice}")
    if override.key_or_group.partition(".")[0] in ("launcher", "output_dir"):
        raise ConfigError(f"'{text}': one launcher starts all runs of a sweep, and into one output_dir; give one value")
    return list(dict.fromkeys(f"{key}={value}" for value in values))


@dataclass(frozen=True)
class _Judged:
    """A combination: its config, or the problems of its options, or (clashes) of options that are each well-formed."""

    words: tuple[str, ...]
    config: Config | None
    problems: list[str]
    clashes: list[str]

    @property
    def values(self) -> list[str]:
        """The overrides that set an option; those that choose a part are known to name one."""
        return [word for word in self.words if sweeps.key_of(word) not in (*registry.groups(), "exp")]


def _sift(judged: list[_Judged], skip_invalid: bool) -> tuple[list[Planned], list[str], list[str]]:
    """Runs, the lines about those left out, the lines that refuse the grid.

    An option that does not exist in one combination (head.ridge with head=ncm) is a clash when another one has it.
    """
    right = {word for one in judged if not one.problems for word in one.values}
    runs: dict[str, Planned] = {}
    clashes: dict[str, list[_Judged]] = {}
    wrong: dict[str, list[_Judged]] = {}
    for one in judged:
        if one.config is not None:
            runs.setdefault(one.config.run_id, Planned(one.config, one.words))
        table = clashes if one.clashes or all(word in right for word in one.values) else wrong
        for line in one.problems + one.clashes:
            table.setdefault(line, []).append(one)
    lines = [_counted(line, found, len(judged), skip_invalid) for line, found in clashes.items()]
    twice = sum(one.config is not None for one in judged) - len(runs)
    same = (
        [f"{twice} of {len(judged)} runs are others once more (paths, threads, trackers … do not tell runs apart)"]
        if twice
        else []
    )
    refused = [_refused(line, found, len(judged)) for line, found in wrong.items()]
    return list(runs.values()), lines + same, refused if skip_invalid else refused + lines


def _refused(line: str, found: list[_Judged], total: int) -> str:
    return line if len(found) == total else f"{line}  ({len(found)} of {total} runs)"


def _counted(line: str, found: list[_Judged], total: int, skipped: bool) -> str:
    """The line with the number of combinations it concerns, some of them, and how to go on."""
    if total == 1:
        return line
    swept = [set(words) for words in zip(*(one.words for one in found))]
    constant = " ".join(next(iter(words)) for words in swept if len(words) == 1 and not next(iter(words)).startswith("+exp="))
    some = f": {constant}" if constant else ""
    return f"{line}  ({len(found)} of {total} runs{some}{'; left out' if skipped else '; --skip-invalid leaves them out'})"


class _Composer:
    """Configs of combinations; remembers what was composed before."""

    def __init__(self, folders: Sequence[Path], config_dirs: Sequence[Path | str], spoilt: Collection[str] = ()) -> None:
        self.folders, self.config_dirs, self.spoilt = list(folders), config_dirs, spoilt
        self.plans: dict[str, overrides.Plan] = {}
        self.composed: dict[tuple[str, ...], tuple[Composed | None, list[str], set[str]]] = {}
        self.parts: dict[tuple[str, str], dict[str, Any] | None] = {}

    def read_words(self, axes: list[list[str]]) -> list[str]:
        """Parse every value of every axis. Returns: what is wrong with single words, and keys that are given twice."""
        for text in itertools.chain(*axes):
            self.plans[text] = overrides.plan([text], self.folders)
        problems = [line for plan in self.plans.values() for line in plan.problems]
        first = overrides.plan([axis[0] for axis in axes], self.folders)
        return problems + [line for line in first.problems if line not in problems]

    def judge(self, words: tuple[str, ...]) -> tuple[Config | None, list[str], list[str]]:
        """A combination's config, the problems of its options, and its clashes."""
        plans = [self.plans[text] for text in words]
        choices = tuple(str(override.input_line) for plan in plans for override in plan.choices)
        composed, problems, unsure = self._choose(choices)
        unsure = unsure.union(self.spoilt, *(plan.unsure for plan in plans))
        values = [override for plan in plans for override in plan.values]
        if composed is not None and not problems:
            laid = None if self._interpolated & set(composed.sources.values()) else _lay(composed, values)
            if laid is None:
                composed, problems, more = attempt([*choices, *(str(each.input_line) for each in values)], self.config_dirs)
                unsure = unsure | more
            else:
                composed = laid
        if composed is None or problems:
            return None, problems, []
        data, problems, clashes = judge(composed, unsure)
        if problems or clashes or unsure:
            return None, problems, clashes
        return config_of(composed, data), [], []

    def _choose(self, choices: tuple[str, ...]) -> tuple[Composed | None, list[str], set[str]]:
        """What the choices of parts compose to: by exchanging plain parts in what their presets compose to, or in full."""
        if choices not in self.composed:
            presets = tuple(text for text in choices if text.startswith("+exp="))
            exchanged = None
            if len(choices) > len(presets):
                base, problems, _ = self._choose(presets)
                if base is not None and not problems:
                    exchanged = self._exchange(base, [text.partition("=")[::2] for text in choices if text not in presets])
            self.composed[choices] = attempt(choices, self.config_dirs) if exchanged is None else (exchanged, [], set())
        return self.composed[choices]

    def _exchange(self, base: Composed, chosen: list[tuple[str, str]]) -> Composed | None:
        """`base` with other parts, or None where a file does not decide alone what stands in its place."""
        if self._interpolated & set(base.sources.values()):
            return None
        data, choices, sources = dict(base.data), dict(base.choices), dict(base.sources)
        for group, name in chosen:
            current = files.path(group, base.choices.get(group, ""), self.folders)
            part = self._part(group, name)
            if part is None or current is None:
                return None
            mine = {key: where for key, where in base.sources.items() if key.startswith(f"{group}.")}
            laid = {key.partition(".")[2]: where for key, where in mine.items() if where != paths.label(current)}
            if any("." in key or where not in self._presets for key, where in laid.items()):
                return None
            file = files.path(group, name, self.folders)
            assert file is not None
            data[group] = {**part, **{key: base.data[group][key] for key in laid}}  # presets are laid over the files of parts
            choices[group] = name
            sources = {key: where for key, where in sources.items() if key not in mine}
            sources |= {key: paths.label(file) for key, _ in inert.flatten(part, group)}
            sources |= {f"{group}.{key}": where for key, where in laid.items()}
        return Composed(data, choices, base.exp, sources, base.preset)

    def _part(self, group: str, name: str) -> dict[str, Any] | None:
        """The content of a plain file: no defaults, no package, no interpolation, no second file of its name."""
        if (group, name) not in self.parts:
            found = files.paths_of(group, name, self.folders)
            content = files.read_plain(found[0]) if len(found) == 1 else {}
            text = found[0].read_text(encoding="utf-8") if content else ""
            odd = not content or "${" in text or "@package" in text or "defaults" in content or list(inert.offences(content))
            nested = any(isinstance(value, dict) for value in content.values())
            self.parts[group, name] = None if odd or nested or "/" in name else content
        return self.parts[group, name]

    @cached_property
    def _presets(self) -> set[str]:
        """Labels of the presets, which come after every part."""
        return {paths.label(file) for folder in self.folders for file in (folder / "exp").rglob("*.yaml")}

    @cached_property
    def _interpolated(self) -> set[str]:
        """Labels of the config files that refer to other values."""
        found = [file for folder in self.folders for file in folder.rglob("*.yaml")]
        return {paths.label(file) for file in found if "${" in file.read_text(encoding="utf-8", errors="replace")}


def _lay(composed: Composed, values: list[Override]) -> Composed | None:
    """The composed config with values laid over it, or None where that is not plain."""
    data, sources = dict(composed.data), dict(composed.sources)
    touched: set[str] = set()
    for override in values:
        group, _, rest = override.key_or_group.partition(".")
        value = override.value()
        simple = not isinstance(value, list) or not any(isinstance(item, (list, dict)) for item in value)
        changes = not override.is_delete() and not override.is_add() and "${" not in f"{override.input_line} {value}"
        if not changes or not simple or isinstance(value, dict) or "." in rest:
            return None
        if not rest:
            data[group] = value
        elif isinstance(data.get(group), dict):
            data[group] = data[group] if group in touched else dict(data[group])
            data[group][rest] = value
            touched.add(group)
        else:
            return None
        sources[override.key_or_group] = COMMAND_LINE
    return Composed(data, composed.choices, composed.exp, sources, composed.preset)


def launcher_of(grid: Grid) -> dict[str, Any]:
    """The launcher's node, which all runs of a grid share. Raises: ConfigError when presets choose different ones."""
    nodes = [run.config["launcher"] for run in grid.runs]
    others = sorted({node["name"] for node in nodes})
    if any(node != nodes[0] for node in nodes):
        raise ConfigError(f"launcher: one launcher starts all runs of a sweep, and presets choose several: {', '.join(others)}")
    registry.find("launcher", nodes[0]["name"])
    return nodes[0]


def each(runs: Sequence[Sequence[str]], config_dirs: Sequence[Path | str] = ()) -> list[Config | list[str]]:
    """For each list of overrides its checked config, or everything that is wrong with it; what they share is composed once."""
    composer = _Composer(paths.config_dirs(config_dirs), config_dirs)
    found: list[Config | list[str]] = []
    for words in runs:
        config = None if composer.read_words([[word] for word in words]) else composer.judge(tuple(words))[0]
        try:
            found.append(load(words, config_dirs) if config is None else config)
        except ConfigError as error:
            found.append(error.problems)
    return found
