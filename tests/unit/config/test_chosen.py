"""Composing twice parses once, and notices every change of a file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from hdx.config.compose import compose
from hdx.errors import ConfigError

Write = Callable[[str, str], Path]


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that OmegaConf parses."""
    found: list[str] = []
    load = OmegaConf.load
    monkeypatch.setattr(OmegaConf, "load", lambda file: (found.append(Path(file.name).stem), load(file))[1])
    return found


def test_the_second_time_nothing_is_parsed(user_conf: Write, parsed: list[str]) -> None:
    user_conf("head/stiff.yaml", "name: lda\ncovariance: within\nridge: 10.0\nprior: uniform\n")
    compose(["head=stiff"])
    assert "stiff" in parsed
    del parsed[:]
    assert compose(["head=stiff", "seed=3"]).data["head"]["ridge"] == 10.0
    assert parsed == []
    compose(["head=stiff", "adapter=bn"])
    assert set(parsed) <= {"bn"}  # other choices parse what nobody has parsed


def test_a_changed_file_is_read_again(user_conf: Write) -> None:
    file = user_conf("exp/mine.yaml", "# @package _global_\nseed: 7\n")
    assert compose(["+exp=mine"]).data["seed"] == 7
    file.write_text("# @package _global_\nseed: 8\n")
    os.utime(file, ns=(1, 1))  # of the same length, and a clock may be coarse
    assert compose(["+exp=mine"]).data["seed"] == 8
    file.unlink()
    with pytest.raises(ConfigError, match="exp 'mine' is unknown"):
        compose(["+exp=mine"])


def test_a_file_that_comes_to_be_hidden_is_noticed(user_conf: Write) -> None:
    user_conf("head/mine.yaml", "name: lda\n")  # so that there is a ./conf
    assert compose().choices["head"] == "lda"
    user_conf("head/lda.yaml", "name: lda\nridge: 3.0\n")
    with pytest.raises(ConfigError, match="would be ignored"):
        compose()


def test_what_was_composed_may_be_changed() -> None:
    first = compose(["+exp=fsa_na"])
    first.data["head"]["ridge"] = -1.0
    first.data["trainer"]["milestones"].append(9.0)
    first.sources.clear()
    again = compose(["+exp=fsa_na"])
    assert again.data["head"]["ridge"] == 1.0 and 9.0 not in again.data["trainer"]["milestones"]
    assert again.sources["head.ridge"] == "conf/head/lda.yaml"
    assert compose(["+exp=fsa_na", "trainer.milestones=[0.5]"]).data["trainer"]["milestones"] == [0.5]
    assert compose(["+exp=fsa_na"]).data["trainer"]["milestones"] == again.data["trainer"]["milestones"]


def test_a_users_file_is_named_from_where_one_stands(user_conf: Write, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = user_conf("head/stiff.yaml", "name: lda\ncovariance: within\nridge: 10.0\nprior: uniform\n")
    assert compose(["head=stiff"], [file.parents[1]]).sources["head.ridge"] == "./conf/head/stiff.yaml"
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert compose(["head=stiff"], [file.parents[1]]).sources["head.ridge"] == str(file)
