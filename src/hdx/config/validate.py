"""A composed config against the schema: unknown, missing, ill-typed and out-of-range options, all of them at once."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from hdx import registry
from hdx.config import checks, identity, inert, quoting, schema, types
from hdx.config.compose import Composed, attempt
from hdx.config.config import Config
from hdx.errors import ConfigError
from hdx.store.trust import check_identity

LATER_GROUPS = {"launcher": "local", "memory": "none", "ops": "default", "teacher": "none", "augment": "none"}
"""Groups that came after the first saved configs, with what runs did before."""
ELSEWHERE = ("data_dir", "output_dir")  # of a teacher: where its students are
_open: list[tuple[str, ...]] = []  # what is being composed: a teacher that learns from itself would have no end
_MISSING = "???"  # how a config file says that a value must be given


def load(overrides: Sequence[str] = (), config_dirs: Sequence[Path | str] = ()) -> Config:
    """Compose and validate in one go. Raises: ConfigError with the problems of both."""
    return load_with_sources(overrides, config_dirs)[0]


def load_with_sources(overrides: Sequence[str] = (), config_dirs: Sequence[Path | str] = ()) -> tuple[Config, dict[str, str]]:
    """As `load`, with where each dotted key was set."""
    composed, problems, unsure = attempt(overrides, config_dirs)
    if composed is None:
        raise ConfigError(problems)
    data, more = _judge(composed, unsure)
    if problems or more:
        raise ConfigError(list(dict.fromkeys(problems + more)))
    return config_of(composed, data), composed.sources


def validate(composed: Composed) -> Config:
    """Check every option. Raises: ConfigError with one line for each that is wrong."""
    data, problems = _judge(composed)
    if problems:
        raise ConfigError(problems)
    return config_of(composed, data)


def config_of(composed: Composed, data: dict[str, Any]) -> Config:
    """What was composed, with the data that `judge` gave for it."""
    return Config(data, composed.exp, composed.choices, exchanged=composed.exchanged, teacher_of=teacher_of)


def load_saved(path: Path | str) -> Config:
    """Read and check the config of a run directory; combinations that are refused today are not judged again.

    Raises: ConfigError when it is missing, no plain YAML, or has options that are none.
    """
    path = Path(path)
    data = _read(path)
    exp, group, choices = data.pop("exp", "custom"), data.pop("group", ""), data.pop("choices", {})
    contents, exchanged = data.pop("contents", None) or {}, data.pop("exchanged", None) or {}
    check_identity(str(exp), str(group), path)
    for added, usual in LATER_GROUPS.items():
        if added not in data:
            data[added] = defaults(added, usual)
    places = {key: str(path) for key, _ in inert.flatten(data)}
    if offences := list(inert.offences(data)):
        raise ConfigError([f"{key}: {why}  (set in: {path})" for key, why in offences])
    fitted, problems, _ = judge(Composed(_with_later_options(data), dict(choices), str(exp), places))
    if problems:
        raise ConfigError(problems)
    if not isinstance(exchanged, dict):
        raise ConfigError(f"exchanged: expected a mapping, got {shown(exchanged)}  (set in: {path})")
    if not isinstance(contents, dict):
        raise ConfigError(f"contents: expected a mapping, got {shown(contents)}  (set in: {path})")
    held, marked = _texts(contents), _texts(exchanged)
    return Config(fitted, str(exp), dict(choices), str(group), held, marked, teacher_of)


def _texts(mapping: dict[Any, Any]) -> dict[str, str]:
    return {str(key): str(value) for key, value in mapping.items()}


def _read(path: Path) -> dict[str, Any]:
    import yaml

    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"config {path} cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path} is no plain YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise ConfigError(f"config {path}: expected a mapping, got {type(content).__name__}")
    return content


def teacher_of(data: dict[str, Any]) -> Config | None:
    """The config of the run that `teacher.overrides` names, done where and with what its student is; None where there is none.

    Raises: ConfigError, each line with `teacher.overrides` in front.
    """
    words = data["teacher"].get("overrides") if data.get("teacher", {}).get("name") == "run" else None
    if not words:
        return None
    return _composed(tuple(words)).replace(**{key: data[key] for key in identity.unhashed() if key != "seed" and key in data})


@lru_cache(maxsize=64)
def _composed(words: tuple[str, ...]) -> Config:
    if words in _open:
        raise ConfigError(f"teacher.overrides={_words(words)} names a run whose teacher is itself: name another one")
    if given := [word for word in words if word.lstrip("+").partition("=")[0] in ELSEWHERE]:
        raise ConfigError(f"teacher.overrides: '{given[0]}' cannot be set there; a teacher lies where its students do")
    _open.append(words)
    try:
        return load(words)
    except ConfigError as error:
        raise ConfigError([f"teacher.overrides={_words(words)}: {line}" for line in error.problems]) from None
    finally:
        _open.pop()


def _words(words: tuple[str, ...]) -> str:
    return f"[{','.join(words)}]"


def _with_later_options(data: dict[str, Any]) -> dict[str, Any]:
    """Saved nodes with the options that their components got since, at their defaults: what the run did without them."""
    data = dict(data)
    for group in registry.groups():
        node = data.get(group)
        if isinstance(node, dict) and registry.known(group, str(node.get("name"))):
            given = schema.describe(group, node["name"]).options
            data[group] = node | {each.name: each.default for each in given if not each.required and each.name not in node}
    return data


def defaults(group: str, name: str) -> dict[str, Any]:
    """The node of a component whose options all have their defaults."""
    return {"name": name, **{option.name: option.default for option in schema.describe(group, name).options}}


def _judge(composed: Composed, unsure: Collection[str] = ()) -> tuple[dict[str, Any], list[str]]:
    data, problems, clashes = judge(composed, unsure)
    return data, problems + clashes


def judge(composed: Composed, unsure: Collection[str] = ()) -> tuple[dict[str, Any], list[str], list[str]]:
    """Data with every value in its option's type, the problems of single options, and those of options that clash.

    Groups in `unsure` are not looked at, and keys in it are not missed; clashes are looked for where every option is well-formed.
    """
    groups = registry.groups()
    run = schema.run_options()
    top = {key: value for key, value in composed.data.items() if key not in groups}
    data, problems = _fit_options("", top, run, composed, unsure)
    for group in groups:
        node = composed.data.get(group)
        if group in unsure:
            continue
        try:
            info = _component(group, node, composed)
        except ConfigError as error:
            problems += error.problems
            continue
        options = {key: value for key, value in node.items() if key != "name"} if node else {}
        fitted, wrong = _fit_options(group, options, info, composed, unsure)
        data[group] = {"name": info.name, **fitted}
        problems += wrong
    clashes = [] if problems or unsure else checks.problems(data)
    if not (problems or unsure or clashes):
        try:
            teacher_of(data)
        except ConfigError as error:
            clashes = error.problems[:1]
    return {key: data[key] for key in composed.data if key in data}, problems, clashes


def _component(group: str, node: Any, composed: Composed) -> schema.ComponentInfo:
    if not isinstance(node, dict) or not isinstance(node.get("name"), str):
        where = composed.where(group)
        choose = f"; a preset chooses it in its defaults: - override /{group}: {node}" if isinstance(node, str) else ""
        raise ConfigError(f"{group}: expected a mapping with the key `name`, got {shown(node)}{_place(where)}{choose}")
    chosen = composed.choices.get(group)
    if composed.where(f"{group}.name") == "command line":
        raise ConfigError(f"{group}.name is set by the config file: choose another one with {group}={node['name']}")
    try:
        return schema.describe(group, node["name"])
    except ConfigError as error:
        hint = "" if chosen is None else _place(composed.where(f"{group}.name"))
        raise ConfigError([f"{line}{hint}" for line in error.problems]) from None


def _fit_options(
    group: str, node: dict[str, Any], info: schema.ComponentInfo, composed: Composed, unsure: Collection[str] = ()
) -> tuple[dict[str, Any], list[str]]:
    fitted, problems = {}, []
    for key, value in node.items():
        dotted = f"{group}.{key}" if group else key
        option = info.option(key)
        if option is None:
            problems.append(_unknown(dotted, group, info, composed))
        elif value == _MISSING and dotted in unsure:
            continue  # what was given is wrong already
        elif value == _MISSING:
            problems.append(f"{dotted} must be given: {dotted}={_sample(option)}{_meaning(option)}")
        else:
            try:
                fitted[key] = types.fit(value, option.annotation)
            except types.Misfit:
                wanted = types.expected(option.annotation)
                place = f"{_place(composed.where(dotted))}{_in_brackets(dotted, value, option)}"
                problems.append(f"{dotted}: expected {wanted}, got {shown(value)}{place}")
    for option in info.options:
        if option.name not in node and (f"{group}.{option.name}" if group else option.name) not in unsure:
            problems.append(_absent(f"{group}.{option.name}" if group else option.name, option))
    return fitted, problems


def _in_brackets(key: str, value: Any, option: schema.Option) -> str:
    """How a name in brackets is given where a string is wanted, and the grammar read a list."""
    if not isinstance(value, list) or not all(isinstance(item, (str, int)) for item in value):
        return ""
    try:
        types.fit("", option.annotation)
    except types.Misfit:
        return ""
    word = quoting.quoted(key, f"[{','.join(map(str, value))}]")
    return f"; a name in brackets is quoted: {word}" if word else ""


def _unknown(key: str, group: str, info: schema.ComponentInfo, composed: Composed) -> str:
    known = [f"{group}.{option.name}" if group else option.name for option in info.options]
    if not group:
        known += registry.groups()
    where = composed.where(key)
    name = composed.choices.get(group, info.name)
    see = f"hdx show {group}={name}" if group else "hdx config"
    owner = f" to {group}={name}" if group else ""
    remove = f"; leave it out with ~{key}" if where and where != "command line" else ""
    return f"{key} is unknown{owner}.{registry.did_you_mean(key, known)}  ({see}{_place(where, '; ')}{remove})"


def _absent(key: str, option: schema.Option) -> str:
    if option.required:
        return f"{key} must be given: {key}={_sample(option)}{_meaning(option)}"
    return f"{key} is missing; give it back its default with +{key}={shown(option.default)}"


def _sample(option: schema.Option) -> str:
    return str(option.choices[0]) if option.choices else "…"


def _meaning(option: schema.Option) -> str:
    return f"  ({option.type}: {option.meaning.rstrip('.')})" if option.meaning else f"  ({option.type})"


def _place(where: str, before: str = "  (") -> str:
    if not where:
        return ""
    return f"{before}set in: {where}{')' if before == '  (' else ''}"


def shown(value: Any) -> str:
    """A value as a message has it: YAML's words for null, true and false, strings in quotes."""
    if isinstance(value, str):
        return repr(value)
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        return repr(value)
