"""Composed configs against the schema."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdx import registry
from hdx.config.checks import problems as check
from hdx.config.compose import Composed, compose
from hdx.config.validate import load, load_with_sources, validate
from hdx.errors import ConfigError

Write = Callable[[str, str], Path]


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(list(overrides))
    return caught.value.problems


def test_the_default_is_valid_and_typed() -> None:
    config = load()
    assert config["head.ridge"] == 1.0 and type(config["head.ridge"]) is float
    assert list(config.data)[:2] == ["seed", "data_dir"]
    assert config.exp == "custom" and config.choices["backbone"] == "tiny"


def test_an_int_is_a_float_and_32_a_precision() -> None:
    config = load(["head.ridge=2", "precision=32"])
    assert type(config["head.ridge"]) is float and config["head.ridge"] == 2.0
    assert config["precision"] == "32"
    assert config.group_hash == load(["head.ridge=2.0", "precision='32'"]).group_hash


def test_wrong_type() -> None:
    assert problems("head.ridge=abc") == ["head.ridge: expected a float >= 0, got 'abc'  (set in: command line)"]


def test_everything_at_once() -> None:
    lines = problems(
        "head.ridge=-1", "head.rigde=1", "seed=1.5", "devices=0", "precision=64", "head.covariance=totl", "pool=avgg", "zeed=1"
    )
    assert "head.ridge: expected a float >= 0, got -1  (set in: command line)" in lines
    assert "seed: expected an int in [0, 2^63), got 1.5  (set in: command line)" in lines
    assert "devices: expected an int >= 1, got 0  (set in: command line)" in lines
    assert "precision: expected one of 32, bf16-mixed, 16-mixed, got 64  (set in: command line)" in lines
    assert "head.covariance: expected one of total, within, got 'totl'  (set in: command line)" in lines
    assert "pool 'avgg' is unknown. Did you mean 'avg'?  (hdx list pool)" in lines
    assert any(line.startswith("head.rigde is unknown to head=lda. Did you mean 'head.ridge'?") for line in lines)
    assert any(line.startswith("'zeed' is unknown. Did you mean 'seed'?") for line in lines)
    assert len(lines) == 8


def test_options_of_a_misspelt_choice_are_judged_by_the_nearest() -> None:
    lines = problems("head=lad", "head.rigde=1")
    assert len(lines) == 2 and "Did you mean 'head.ridge'?" in lines[1]
    assert problems("head=zzzzzz", "head.anything=1") == ["head 'zzzzzz' is unknown.  (hdx list head)"]


def test_a_required_option(user_conf: Write) -> None:
    user_conf("head/open.yaml", "name: lda\ncovariance: total\nridge: ???\nshrinkage: 0.0\nprior: uniform\n")
    (line,) = problems("head=open")
    assert line.startswith("head.ridge must be given: head.ridge=…  (float >= 0: ")
    assert load(["head=open", "head.ridge=1"])["head.ridge"] == 1.0


def test_a_folder_needs_its_path() -> None:
    (line,) = problems("dataset=folder")
    assert line.startswith("dataset.path must be given with dataset=folder")
    assert load(["dataset=folder", "dataset.path=photos.zip"])["dataset.path"] == "photos.zip"
    assert load(["dataset=folder", "dataset.path=2024"])["dataset.path"] == "2024"


def test_a_removed_option() -> None:
    (line,) = problems("~head.ridge")
    assert line == "head.ridge is missing; give it back its default with +head.ridge=1.0"


def test_an_unknown_key_in_a_users_preset_says_where(user_conf: Write) -> None:
    user_conf("exp/mine.yaml", "# @package _global_\nhead:\n  rigde: 1\nsead: 3\n")
    option, top = sorted(problems("+exp=mine"))
    assert "head.ridge" in option and "set in: ./conf/exp/mine.yaml; leave it out with ~head.rigde" in option
    assert top.startswith("sead is unknown. Did you mean 'seed'?") and "./conf/exp/mine.yaml" in top


def test_a_users_file_with_an_unknown_component(user_conf: Write) -> None:
    user_conf("head/mine.yaml", "name: ldaa\nridge: 1.0\n")
    (line,) = problems("head=mine")
    assert line == "head 'ldaa' is unknown. Did you mean 'lda'?  (hdx list head)  (set in: ./conf/head/mine.yaml)"


def test_a_users_file_without_a_name(user_conf: Write) -> None:
    user_conf("head/mine.yaml", "ridge: 1.0\n")
    (line,) = problems("head=mine")
    assert line.startswith("head: expected a mapping with the key `name`")


def test_a_third_party_component(user_conf: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Registered by an entry point and checked without an import: the package raises when it is imported."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    (tmp_path / "outside" / "heads.py").write_text(
        "from hdx.heads._base import Head\n"
        "from hdx.options import Fraction\n"
        "class Soft(Head):\n"
        '    """A soft head.\n\n    Args:\n        share: of the whole.\n    """\n'
        "    kind = 'gradient'\n"
        "    def __init__(self, n_features, *, share: Fraction = 0.5): ...\n"
    )
    info = tmp_path / "outside-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: outside\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[hdx.components]\nhead.soft = outside.heads:Soft\n")
    user_conf("head/soft.yaml", "name: soft\nshare: 0.5\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    registry.forget()
    try:
        assert load(["head=soft", "head.share=1"])["head.share"] == 1.0
        assert problems("head=soft", "head.share=2") == ["head.share: expected a float in [0, 1], got 2  (set in: command line)"]
    finally:
        registry.forget()


def test_the_name_is_chosen_by_the_group() -> None:
    assert problems("head.name=ncm") == ["head.name is set by the config file: choose another one with head=ncm"]


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["adapter=film"], "adapter=film has no effect with method=frozen"),
        (["method=first_session"], "method=first_session has nothing to train with adapter=none"),
        (["method=finetune"], "method=finetune has nothing to train with adapter=none"),
        (["pool=cls"], "pool=cls needs a class token and backbone=tiny has none"),
    ],
)
def test_combinations_that_make_no_sense(overrides: list[str], words: str) -> None:
    (line,) = problems(*overrides)
    assert line.startswith(words) and "take " in line


def test_combinations_that_do() -> None:
    assert load(["method=first_session", "adapter=full"])["adapter.name"] == "full"
    assert load(["method=finetune", "head=linear"])["head.name"] == "linear"
    assert check(load(["method=joint", "adapter=film"]).data) == []


def test_validate_takes_what_compose_gives() -> None:
    composed = compose(["seed=5"])
    assert validate(composed).data == load(["seed=5"]).data
    with pytest.raises(ConfigError, match="head: expected a mapping"):
        validate(Composed({key: value for key, value in composed.data.items() if key != "head"}))


def test_sources_cover_every_leaf() -> None:
    config, sources = load_with_sources(["seed=5", "head.ridge=2"])
    leaves = {f"{group}.{key}" for group, node in config.data.items() if isinstance(node, dict) for key in node}
    leaves |= {key for key, value in config.data.items() if not isinstance(value, dict)}
    assert leaves == set(sources)
    assert sources["head.ridge"] == "command line" and sources["head.covariance"] == "conf/head/lda.yaml"
