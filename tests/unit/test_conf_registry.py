"""conf/ and the registry in lockstep: names, keys, defaults and headers, and every preset composes."""

from __future__ import annotations

import inspect
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

import hdx
from hdx import registry
from hdx.config import files, identity, paths, schema
from hdx.config.files import read_plain
from hdx.config.validate import load

CONF = paths.packaged()
FILES = sorted(file for group in registry.groups() for file in (CONF / group).glob("*.yaml"))
PRESETS = files.names("exp", [CONF])
IDENTITIES = json.loads((Path(__file__).parent / "identities.json").read_text())
#: what a teacher goes with
TAUGHT = ["adapter=full", "head=linear", "method=distill", "loss=kd"]
COMPONENTS = [(group, name) for group in registry.groups() for name in registry.names(group)]


def identify(file: Path) -> str:
    return f"{file.parent.name}/{file.stem}"


def plain(value: Any) -> Any:
    """YAML knows no tuples, and constructors may have them as defaults."""
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def fact(group: str, name: str, fact: str) -> Any:
    """What the component behind a config file says of itself."""
    return schema.describe(group, read_plain(CONF / group / f"{name}.yaml")["name"]).facts[fact]


COMPARING = [name for name in files.names("loss", [CONF]) if "teacher" in fact("loss", name, "needs")]


def bases(group: str) -> list[str]:
    """The contract of a group and the classes in private modules that are derived from it."""
    contract = registry.load(group, registry.names(group)[0]).__mro__
    private = {cls.__name__ for cls in contract if cls.__module__.startswith("hdx.") and "._" in cls.__module__}
    return sorted(private | {registry.CONTRACTS[group].partition(":")[2]})


def presets_of(command: str) -> list[str]:
    """What a command chooses with `+exp=a` or `'+exp=[a,b]'`."""
    word = next(word for word in shlex.split(command) if word.startswith("+exp="))
    return word.removeprefix("+exp=").strip("[]").split(",")


def overrides_of(preset: str) -> list[str]:
    """The preset, and the path that a setting on the user's own copy of a dataset asks for."""
    on_folder = {"override /dataset": "folder"} in read_plain(CONF / "exp" / f"{preset}.yaml").get("defaults", [])
    return [f"+exp={preset}", *(["dataset.path=photos.zip"] if on_folder else [])]


def test_no_folder_without_a_group() -> None:
    assert {folder.name for folder in CONF.iterdir() if folder.is_dir()} <= {*registry.groups(), *files.PLAIN}


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_every_component_has_its_file(group: str, name: str) -> None:
    file = CONF / group / f"{name}.yaml"
    assert file.is_file()
    assert read_plain(file)["name"] == name


@pytest.mark.parametrize("group", registry.groups())
def test_every_public_class_of_a_group_is_registered(group: str) -> None:
    folder = Path(hdx.__file__).parent / registry.package(group)
    public = [file for file in folder.glob("*.py") if not file.stem.startswith("_")]
    pattern = re.compile(rf"^class ([A-Z]\w*)\((?:\w+, )*(?:{'|'.join(bases(group))})\b", re.MULTILINE)
    written = {f"hdx.{folder.name}.{file.stem}:{name}" for file in public for name in pattern.findall(file.read_text())}
    assert written <= {registry.find(group, name) for name in registry.names(group)}
    assert registry.problems() == []


@pytest.mark.parametrize("file", FILES, ids=identify)
def test_keys_and_defaults_are_the_constructors(file: Path) -> None:
    content = read_plain(file)
    info = schema.describe(file.parent.name, content.pop("name"))
    assert list(content) == [option.name for option in info.options]
    if info.name == file.stem:
        expected = {option.name: "???" if option.required else plain(option.default) for option in info.options}
        assert content == expected
        assert {key: type(value) for key, value in content.items()} == {key: type(value) for key, value in expected.items()}


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_options_read_from_source_are_those_of_the_class(group: str, name: str) -> None:
    cls = registry.load(group, name)
    parameters = inspect.signature(cls.__init__).parameters.values()
    keywords = [parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY]
    info = schema.describe(group, name)
    assert [option.name for option in info.options] == [parameter.name for parameter in keywords]
    for option, parameter in zip(info.options, keywords):
        assert option.required == (parameter.default is parameter.empty)
        if not option.required:
            assert option.default == parameter.default
    own = cls.__init__ is not object.__init__
    assert not [parameter for parameter in parameters if own and parameter.kind is parameter.VAR_KEYWORD]


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_every_option_is_explained_and_every_component_has_a_source(group: str, name: str) -> None:
    info = schema.describe(group, name)
    assert info.summary and info.source
    assert [option.name for option in info.options if not option.meaning] == []


@pytest.mark.parametrize("file", [*FILES, CONF / "config.yaml", CONF / "run.yaml", *(CONF / "exp").glob("*.yaml")], ids=identify)
def test_headers(file: Path) -> None:
    head = files.header(file)
    assert head.summary and head.source, file
    assert head.command.startswith("hdx "), file
    if file.parent.name in registry.groups() and file.parent.name not in ("trainer", "ops"):
        assert f"{file.parent.name}={file.stem}" in head.command.split()
    if file.parent.name == "exp" and head.command.startswith("hdx train"):
        assert file.stem in presets_of(head.command)


def test_run_options() -> None:
    options = {option.name: option.default for option in schema.run_options().options}
    assert read_plain(CONF / "run.yaml") == options


def test_the_defaults_list_is_all_that_config_yaml_has() -> None:
    content = read_plain(CONF / "config.yaml")
    assert list(content) == ["defaults"]
    chosen = [group for entry in content["defaults"] if isinstance(entry, dict) for group in entry]
    assert sorted(chosen) == sorted(registry.groups())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_composes_and_keeps_its_hash(preset: str, tmp_path: Path) -> None:
    """A hash that changes renames the runs on every disk: mark the new option (`hdx.options`), or give its class a `version`, and
    write the hash into the file where the preset's results did change. Without data, so that no file has a say."""
    config = load([*overrides_of(preset), f"data_dir={tmp_path}"])
    assert config.exp == preset
    assert set(config.choices) == set(registry.groups())
    assert config.group_hash == IDENTITIES[preset]


def test_no_preset_is_missing_among_the_hashes() -> None:
    assert list(IDENTITIES) == sorted(PRESETS)


def test_what_is_left_out_of_the_identity() -> None:
    """Read before a row is added: whatever stands here may change without a run of another name."""
    marked = {option.name for option in schema.run_options().options if "unhashed" in option.marks}
    assert marked == {"seed", "data_dir", "output_dir", "devices", "nodes", "accelerator", "threads", "workers"}
    components = [(group, schema.describe(group, name)) for group, name in COMPONENTS if identity.hashed(group)]
    named = [(group, info.name, o.name) for group, info in components for o in info.options if "unhashed" in o.marks]
    kept = {("dataset", "storage"), ("dataset", "memory_gb"), ("protocol", "memory_mb"), ("teacher", "cache")}
    fetched = {("dataset", "path"), ("dataset", "download")}
    assert {(group, option) for group, _, option in named} == {*kept, *fetched, ("trainer", "checkpoint_seconds")}
    read_by_published_sums = {name for group, name, option in named if (group, option) in fetched}
    assert read_by_published_sums == {"cifar10", "cifar100"}
    assert [group for group in registry.groups() if not identity.hashed(group)] == ["ops", "tracker", "launcher"]


@pytest.mark.parametrize("preset", [preset for preset in PRESETS if preset.startswith("setting_")])
def test_every_setting_keeps_what_the_method_preset_chose(preset: str) -> None:
    """A setting says what arrives when, and how long to train; it goes with any method of the paper."""
    for method in ("fsa_film", "fsa_full", "fsa_na"):
        alone, both = load([f"+exp={method}"]), load([f"+exp=[{method},{preset}]", *overrides_of(preset)[1:]])
        assert all(both[group] == alone[group] for group in ("adapter", "head", "method", "loss", "pool"))
        assert both["trainer.lr"] == alone["trainer.lr"]
        n_classes = int(re.search(r"of (\d+) classes", files.header(CONF / "exp" / f"{preset}.yaml").summary)[1])  # type: ignore[index]
        listed = {"cifar100": (60, 5), "cub200": (100, 10)}.get(both["protocol"].get("lists"))  # the field's session lists
        first, step = listed or (both["protocol.first"], both["protocol.step"])
        n_sessions = 1 + (n_classes - first) / step
        assert f"({n_sessions:.0f} sessions)" in files.header(CONF / "exp" / f"{preset}.yaml").summary
        assert n_sessions == int(n_sessions)


@pytest.mark.parametrize("file", FILES, ids=identify)
def test_every_file_can_be_chosen(file: Path) -> None:
    """In a run that it makes sense in: the method that an adapter needs, the body that a pool needs, a folder's path."""
    group, name = file.parent.name, file.stem
    beside = {
        ("method", "first_session"): ["adapter=film"],
        ("method", "finetune"): ["adapter=film"],
        ("method", "joint"): ["adapter=film"],
        ("method", "cumulative"): ["adapter=film"],
        ("method", "replay"): ["adapter=film", "memory=replay"],
        ("memory", "replay"): ["adapter=film", "method=replay"],
        ("method", "per_episode"): ["adapter=film", "protocol=episodic"],
        ("method", "prototypical"): ["adapter=full"],
        ("method", "normsoftmax"): ["adapter=full"],
        ("method", "icarl"): ["adapter=full", "memory=replay"],
        ("method", "der_pp"): ["adapter=full", "head=linear", "memory=replay"],
        ("method", "der"): ["adapter=full", "head=linear", "memory=replay"],
        ("method", "lwf"): ["adapter=full", "head=linear"],
        ("method", "wa"): ["adapter=full", "head=linear", "memory=replay"],
        ("method", "ewc"): ["adapter=full", "head=linear"],
        **{("method", name): ["adapter=full", "head=linear"] for name in ("cutmix", "lp_ft", "condense")},
        **{("method", name): ["adapter=full"] for name in ("simclr", "byol", "prune")},
        ("dataset", "distilled"): ["dataset.run=12345678-s0"],
        ("method", "dho"): ["adapter=full", "head=dual", "teacher=kd_teacher", "method.alpha=0.5", "method.beta=1"],
        ("method", "dhkd"): ["adapter=full", "head=linear", "teacher=kd_teacher"],
        ("method", "uskd"): ["adapter=full", "head=linear"],
        ("method", "sla"): ["adapter=full", "head=rotations"],
        ("head", "dual"): [*TAUGHT[:1], "teacher=kd_teacher", "method=dho", "method.alpha=0.5", "method.beta=1"],
        ("head", "rotations"): ["adapter=full", "method=sla"],
        ("method", "distill"): ["adapter=full", "head=linear", "teacher=kd_teacher", "loss=kd"],
        **{
            ("loss", name): [*TAUGHT[:3], "teacher=kd_teacher"]
            for name in files.names("loss", [CONF])
            if "teacher" in fact("loss", name, "needs")
        },
        **{("teacher", name): TAUGHT for name in files.names("teacher", [CONF]) if name != "none"},
        ("teacher", "run"): [*TAUGHT, "teacher.run=kd_teacher"],
        ("teacher", "model"): [*TAUGHT, "teacher.checkpoint=model.safetensors"],
        ("teacher", "resnet56"): [*TAUGHT, "teacher.checkpoint=model.safetensors"],
        ("pool", "cls"): ["backbone=vit_small"],
        ("dataset", "folder"): ["dataset.path=photos.zip"],
        ("dataset", "domain_folders"): ["dataset.path=photos.zip"],
        ("dataset", "vtab"): ["dataset.task=dtd"],
        **{("dataset", name): ["dataset.of={name: digits}"] for name in ("long_tail", "noisy_labels", "corrupted", "mosaic")},
    }.get((group, name), ["method=first_session"] if group == "adapter" and name != "none" else [])
    if group == "augment" and name != "none":
        beside = ["adapter=full", f"method={'simclr' if fact('augment', name, 'shows') == 'several' else 'finetune'}"]
    if group == "head" and fact("head", name, "kind") == "episode":
        beside = ["protocol=episodic"]
    if group == "adapter" and fact("adapter", name, "layout") == "tokens":
        beside = [*beside, "backbone=vit_small_patch16"]
    if beside == ["backbone=vit_small"] and not (CONF / "backbone" / "vit_small.yaml").exists():
        beside = ["backbone=timm"]
    assert load([f"{group}={name}", *beside]).choices[group] == name
