"""What makes two configs the same group of runs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from hdx import registry
from hdx.config import identity, schema, types
from hdx.config.validate import defaults, load, load_saved
from hdx.errors import ConfigError

COMPONENTS = [(group, name) for group in registry.groups() if identity.hashed(group) for name in registry.names(group)]
HEAD = '''
from hdx.heads._base import Head
from hdx.options import PositiveInt, Unhashed

from outside._how import neighbours


class Near(Head):
    """Nearest neighbours."""

    kind = "episode"
    {version}

    def __init__(self, n_features: int, *, k: PositiveInt = 1{more}) -> None:
        """Keep them."""
'''


@pytest.mark.parametrize(
    "override",
    [
        "seed=3",
        "data_dir=elsewhere",
        "output_dir=elsewhere",
        "devices=2",
        "nodes=2",
        "accelerator=cpu",
        "threads=1",
        "workers=0",
        "tracker=wandb",
        "trainer.checkpoint_seconds=1",
        "accelerator=gpu",
        "launcher=slurm",
        "ops.backend=reference",
    ],
)
def test_where_and_with_what_does_not_count(override: str) -> None:
    assert load([override]).group_hash == identity.group_hash(_plain())


@pytest.mark.parametrize(
    "override",
    ["head.ridge=2", "head=ncm", "precision=bf16-mixed", "feature_dtype=float16", "trainer.batch_size=32", "protocol.step=3"],
)
def test_what_is_computed_counts(override: str) -> None:
    assert load([override]).group_hash != identity.group_hash(_plain())


def test_only_what_differs_from_the_defaults_of_the_classes_is_in_it() -> None:
    found = identity.about(load(["head.ridge=2", "trainer=default", "adapter=none", "memory=none", "teacher=none"]).data)
    assert found["head"] == {"name": "lda", "options": {"ridge": 2.0}} and found["trainer"] == {"name": "default"}
    assert set(found) == {"dataset", "backbone", "pool", "head", "method", "protocol", "loss", "trainer"}


def _other(annotation: Any, value: Any) -> Any:
    """A value that fits an annotation and is not `value`."""
    tries: list[Any] = [
        *(types.choices(annotation) or ()),
        True,
        False,
        3,
        7,
        0.25,
        0.75,
        2.5,
        "other",
        ["crop"],
        [0.5],
        [3],
        [0.5, 0.25],
        2,
        [1, 2],
    ]
    tries += [["other"], {"name": "digits"}, None]
    for each in tries:
        try:
            fitted = types.fit(each, annotation)
        except types.Misfit:
            continue
        if fitted != value:
            return fitted
    raise AssertionError(f"no other value of {annotation}")


@cache
def _plain() -> dict[str, Any]:
    """The config without overrides."""
    return load().data


@pytest.mark.parametrize(("group", "name"), COMPONENTS)
def test_an_option_without_a_mark_counts_and_one_with_a_mark_does_not(group: str, name: str) -> None:
    info, node = schema.describe(group, name), defaults(group, name)
    node |= {option.name: _other(option.annotation, "") for option in info.options if option.required}
    data = {**_plain(), group: node}
    before = identity.group_hash(data)
    for option in info.options:
        if "run" not in option.marks:
            other = {**data, group: node | {option.name: _other(option.annotation, node[option.name])}}
            assert (identity.group_hash(other) == before) == ("unhashed" in option.marks), option.name


def test_run_id() -> None:
    config = load(["seed=3"])
    assert len(config.group_hash) == 8 and int(config.group_hash, 16) >= 0
    assert config.run_id == f"custom/{config.group_hash}-s3"
    assert config.replace(seed=4).run_id == f"custom/{config.group_hash}-s4"
    assert config.replace(precision="bf16-mixed").group_hash != config.group_hash
    assert config["seed"] == 3  # replace copies


def _forget() -> None:
    registry.forget()
    schema._describe.cache_clear()
    importlib.invalidate_caches()


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of an installed package that brings head=near."""
    package = tmp_path / "outside"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "_how.py").write_text("neighbours = 5\n")
    _write(package)
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hdx.components]\nhead.near = outside.heads:Near\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield package
    sys.path.remove(str(tmp_path))
    _forget()


def _write(package: Path, version: str = "", more: str = "") -> None:
    (package / "heads.py").write_text(HEAD.format(version=version, more=more))


def _hash(k: int = 1, **more: Any) -> str:
    _forget()
    return identity.group_hash({**_plain(), "head": {"name": "near", "k": k, **more}})


def _node(k: int = 1, **more: Any) -> dict[str, Any]:
    """The identity of the head without its code, as that of a component of hdx is."""
    _forget()
    found = identity.component({"data_dir": None, "head": {"name": "near", "k": k, **more}}, "head")
    assert found.pop("code")["distribution"] == "outside 1.0"
    return found


def test_an_option_that_comes_later_renames_no_run_and_a_version_does(outside: Path) -> None:
    before = _node(k=3)
    assert before == {"name": "near", "options": {"k": 3}}
    _write(outside, more=", temperature: float = 1, quiet: Unhashed[bool] = False")
    assert _node(k=3) == _node(k=3, temperature=1.0, quiet=True) == before
    assert _node(k=3, temperature=2.0) != before
    _write(outside, version="version = 2")
    assert _node(k=3) == {**before, "version": 2}


def test_the_version_of_a_base_counts_as_well(outside: Path) -> None:
    _write(outside, version="version = 2")
    (outside / "more.py").write_text(
        'from outside.heads import Near\n\n\nclass Nearer(Near):\n    """Nearer."""\n\n    version = 3\n'
    )
    assert schema._describe("outside.more", "Nearer", "nearer", "head").version == 4


def test_the_code_of_others_is_part_of_what_a_run_is(outside: Path) -> None:
    before = _hash()
    (outside / "__pycache__").mkdir()
    (outside / "__pycache__" / "heads.cpython-311.pyc").write_text("compiled")
    (outside / "notes.txt").write_text("not code")
    assert _hash() == before
    (outside / "_how.py").write_text("neighbours = 1\n")  # not the file of the class, but of its package
    changed = _hash()
    info = outside.parent / "outside-1.0.dist-info"
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.1\n")
    assert len({before, changed, _hash()}) == 3
    (outside / "_how.py").write_text("neighbours = 5\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    assert _hash() == before


def test_shared_bodies_see_what_trains_them_and_not_how_they_are_scored() -> None:
    base = ["adapter=full", "protocol=episodic", "method=prototypical", "dataset=omniglot"]
    body = identity.body_key(load(base).data)
    assert identity.body_key(load([*base, "protocol.shots=5", "protocol.memory_mb=64", "dataset.memory_gb=1"]).data) == body
    assert identity.body_key(load([*base, "protocol.train_on=base_and_validation"]).data) != body
    assert identity.body_key(load([*base, "trainer.lr=0.5"]).data) != body


def test_saved_and_loaded(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    config = load(["seed=3", "head.ridge=1e-5", "trainer.milestones=[0.5]"])
    config.save(file)
    again = load_saved(file)
    assert (again.data, again.exp, again.choices, again.run_id) == (config.data, config.exp, config.choices, config.run_id)
    assert again["head.ridge"] == 1e-5
    assert list(again.data) == list(config.data)
    assert yaml.safe_load(file.read_text())["trainer"]["milestones"] == [0.5]


def test_a_config_saved_before_an_option_existed_has_its_default(tmp_path: Path) -> None:
    config, file = load(["trainer.lr=0.5"]), tmp_path / "config.yaml"
    config.save(file)
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(line for line in lines if line.split(":")[0].strip() not in ("crops", "crop_seed", "ridge")))
    again = load_saved(file)
    assert again.data == config.data and again.run_id == config.run_id


def test_the_identity_of_a_saved_config_outlives_its_files(tmp_path: Path) -> None:
    photos = tmp_path / "photos.zip"
    photos.write_bytes(b"zip")
    config = load(["dataset=folder", f"dataset.path={photos}"])
    config.save(tmp_path / "config.yaml")
    photos.unlink()
    assert load_saved(tmp_path / "config.yaml").group_hash == config.group_hash


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1, 2]", "expected a mapping, got list"),
        ("a: [", "is no plain YAML"),
        ("seed: abc\n", "seed: expected an int"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, text: str, words: str) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_saved(file)
    assert any(words in line for line in caught.value.problems)
    assert all("\n" not in line for line in caught.value.problems)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load_saved(tmp_path / "config.yaml")
