"""Overrides and files to one mapping, and where each value came from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hdx.config.compose import compose
from hdx.errors import ConfigError

Write = Callable[[str, str], Path]


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        compose(list(overrides))
    return caught.value.problems


def test_defaults() -> None:
    composed = compose()
    assert composed.exp == "custom"
    assert composed.choices["dataset"] == "digits" and composed.choices["head"] == "lda"
    assert composed.data["method"]["name"] == "frozen"
    assert composed.data["seed"] == 0 and composed.data["precision"] == "32"
    assert "hydra" not in composed.data and "exp" not in composed.data
    assert composed.sources["head.ridge"] == "conf/head/lda.yaml"
    assert composed.sources["seed"] == "conf/run.yaml"


def test_the_command_line_is_a_source() -> None:
    composed = compose(["head=ncm", "seed=3", "head.metric=cosine"])
    assert composed.data["seed"] == 3 and composed.data["head"] == {**composed.data["head"], "name": "ncm", "metric": "cosine"}
    assert composed.sources["seed"] == composed.sources["head.metric"] == "command line"
    assert composed.sources["head.name"] == "conf/head/ncm.yaml"
    assert composed.choices["head"] == "ncm"


def test_hydras_grammar() -> None:
    data = compose(["trainer.milestones=[0.25,0.5]", "++seed=2", "output_dir='a b,c'", "data_dir=null", "+head.extra=1"]).data
    assert data["trainer"]["milestones"] == [0.25, 0.5]
    assert data["seed"] == 2 and data["output_dir"] == "a b,c" and data["data_dir"] is None
    assert data["head"]["extra"] == 1  # refused by validation, not by composition
    assert "ridge" not in compose(["~head.ridge"]).data["head"]
    assert compose(["seed=1", "seed=2"]).data["seed"] == 2  # the last one counts, as with Hydra
    assert compose(["head.ridge=${seed}", "seed=4"]).data["head"]["ridge"] == 4


@pytest.mark.parametrize("override", ["exp=mine", "+exp=mine", "+exp=[mine]"])
def test_presets(user_conf: Write, override: str) -> None:
    user_conf("exp/mine.yaml", "# @package _global_\ndefaults:\n  - override /head: ncm\nhead:\n  metric: cosine\nseed: 7\n")
    composed = compose([override])
    assert composed.exp == "mine"
    assert composed.choices["head"] == "ncm"
    assert composed.data["head"]["metric"] == "cosine" and composed.data["seed"] == 7
    assert composed.sources["seed"] == "./conf/exp/mine.yaml"


def test_two_presets_the_later_wins(user_conf: Write) -> None:
    user_conf("exp/one.yaml", "# @package _global_\nseed: 1\nworkers: 1\n")
    user_conf("exp/sub/two.yaml", "# @package _global_\nseed: 2\n")
    composed = compose(["+exp=[one,sub/two]"])
    assert composed.exp == "one+sub-two"
    assert composed.data["seed"] == 2 and composed.data["workers"] == 1
    assert composed.sources["seed"] == "./conf/exp/sub/two.yaml"


def test_a_folder_given_with_cd(tmp_path: Path) -> None:
    (tmp_path / "head").mkdir()
    (tmp_path / "head" / "stiff.yaml").write_text("name: lda\ncovariance: within\nridge: 10.0\nprior: uniform\n")
    composed = compose(["head=stiff"], [tmp_path])
    assert composed.data["head"]["ridge"] == 10.0 and composed.choices["head"] == "stiff"
    assert composed.sources["head.ridge"] == str(tmp_path / "head" / "stiff.yaml")
    with pytest.raises(ConfigError, match="config folder .*nowhere does not exist"):
        compose([], [tmp_path / "nowhere"])


def test_a_folder_with_odd_characters(tmp_path: Path) -> None:
    folder = tmp_path / "it's [odd], €"
    (folder / "head").mkdir(parents=True)
    (folder / "head" / "odd.yaml").write_text("name: ncm\nmetric: cosine\n")
    assert compose(["head=odd"], [folder]).data["head"]["metric"] == "cosine"


def test_a_file_that_would_be_hidden_is_refused(user_conf: Write) -> None:
    user_conf("head/lda.yaml", "name: lda\nridge: 3.0\n")
    (line,) = problems()
    assert line == "./conf/head/lda.yaml has the name of conf/head/lda.yaml and would be ignored: give it another name"
    assert compose(["head=ncm"]).choices["head"] == "ncm"  # not chosen, so no harm


def test_every_misspelling_at_once() -> None:
    lines = problems("head=lad", "datset=digits", "sead=1", "hed.ridge=1", "adapter=flim", "+exp=fsa_flim", "head/ridge=1", "x")
    assert "head 'lad' is unknown. Did you mean 'lda'?  (hdx list head)" in lines
    assert "adapter 'flim' is unknown. Did you mean 'film'?  (hdx list adapter)" in lines
    assert "exp 'fsa_flim' is unknown. Did you mean 'fsa_film'?  (hdx list exp)" in lines
    text = "\n".join(lines)
    for right in ("Did you mean 'dataset'?", "Did you mean 'seed'?", "Did you mean 'head.ridge'?"):
        assert right in text
    assert "'x' is no override" in text
    assert len(lines) == 8


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("head=lda,ncm", "is a grid, and this is one run"),
        ("head=glob(*)", "is a grid"),
        ("seed=range(3)", "is a grid"),
        ("seed=choice(1,2)", "is a grid"),
        ("head={name: lda}", "'head={name: lda}' does not follow Hydra's grammar|expected the name of a config"),
        ("head=null", "expected the name of a config: head=NAME"),
        ("head=[lda,ncm]", "expected the name of a config: head=NAME"),
        ("+head=ncm", "write head=NAME without +"),
        ("~head", "a run needs a head"),
        ("head@other=lda", "cannot be moved to another package"),
        ("hydra.run.dir=x", "folders are set with output_dir"),
        ("+head.ridge=1", r"head.ridge already has a value; write head.ridge=1"),
        ("~head.rigde", "head.rigde is not in the config. Did you mean 'head.ridge'?"),
        ("~head.ridge=5", "write ~head.ridge to take it out"),
        ("trainer.milestones.9=0.3", "'trainer.milestones.9=0.3': list index out of range"),
        ("head.ridge=[1", "does not follow Hydra's grammar"),
        ("seed.x=1", "'seed' has no parts|unknown"),
    ],
)
def test_refused_in_one_line(override: str, words: str) -> None:
    import re

    (line,) = problems(override)
    assert any(word in line for word in words.split("|")), line
    assert not re.search(r"\n", line)


def test_a_group_given_twice() -> None:
    (line,) = problems("head=lda", "head=ncm")
    assert line == "head is given twice; the second time as 'head=ncm'"


def test_a_preset_with_an_unknown_part(user_conf: Write) -> None:
    user_conf("exp/mine.yaml", "# @package _global_\ndefaults:\n  - override /head: lad\n")
    (line,) = problems("+exp=mine")
    assert line == "head 'lad' is unknown. Did you mean 'lda'?  (hdx list head)"


def test_broken_yaml_is_named(user_conf: Write) -> None:
    user_conf("exp/mine.yaml", "# @package _global_\nseed: [1\n")
    (line,) = problems("+exp=mine")
    assert "mine.yaml" in line and "\n" not in line


def test_an_interpolation_of_nothing() -> None:
    (line,) = problems("head.ridge=${nothing}")
    assert "nothing" in line and "\n" not in line


def test_the_current_folder_may_hold_another_projects_configs(user_conf: Write) -> None:
    user_conf("config.yaml", "defaults: [thing: other]\n_target_: os.system\n")
    user_conf("thing/other.yaml", "x: 1\n")
    assert compose().data["seed"] == 0
