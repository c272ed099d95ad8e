"""Words that the grammar does not take: one line each, which shows what to type; typed so, the value arrives as it was meant."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from hdx.cli._runs import split_output_dir
from hdx.config import overrides, paths, quoting
from hdx.config.grid import expand
from hdx.config.validate import load
from hdx.errors import ConfigError

#: what people have in paths
PATHS = (
    *(
        "/data/a=b",
        "/data/lr=0.1,wd=1",
        "/data/cats, dogs",
        "/data/a (1)",
        "/data/[raw]",
        "/data/{x}",
        "~/data",
        "/data/été",
        "/日本",
    ),
    *(
        "/data/#1",
        "/data/a&b",
        "/data/it's",
        '/data/a"b"',
        "/data/a;b",
        "/data/wow!",
        "(raw)",
        "/data/a^b",
        "data(1)",
        "set.zip(2)",
    ),
    *("\\\\server\\data=1\\", "C:\\data (1)\\x", "D:/Photos, old/x", "/data/'quoted'=x", "/a,b,c=d", "/data/<new>"),
)


@pytest.mark.parametrize("path", PATHS)
def test_what_is_shown_can_be_typed(path: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(["dataset=folder", f"dataset.path={path}"])
    (line,) = caught.value.problems
    typed = line[re.search(r"(write|written) ", line).end() :]  # type: ignore[union-attr]
    (word,) = shlex.split(typed)
    found = overrides.plan([word], paths.config_dirs())
    assert found.problems == [] and found.values[0].value() == path
    if not path.startswith(("/data/cats", "D:")):  # plain commas are a grid, as they should be
        with pytest.raises(ConfigError) as swept:
            expand(["dataset=folder", f"dataset.path={path}", "seed=1,2"])
        assert swept.value.problems == [line]


@pytest.mark.parametrize(
    "path", ["C:\\data\\x", "C:/data", "/data/a b", "/data/a:b", "data/2024-01-01T10:00", "/a+b", "/a%20b", "/a@b"]
)
def test_what_needs_no_quotes(path: str) -> None:
    assert load(["dataset=folder", f"dataset.path={path}"])["dataset.path"] == path


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["seed", "=", "3"], "'seed = 3' is torn apart at a space: write seed=3"),
        (["seed=", "3"], "'seed= 3' is torn apart at a space: write seed=3"),
        (["seed = 3"], "'seed = 3' has spaces around =: write seed=3"),
        (["seed==3"], "'seed==3' does not follow Hydra's grammar (== for =): write seed=3"),
        (["seed=3,"], "'seed=3,' does not follow Hydra's grammar (a comma at the end): write seed=3"),
        (["seed:3"], "'seed:3' is no override: expected key=value, +key=value, ++key=value or ~key. Did you mean seed=3?"),
        (["head=ncm seed=3"], "'head=ncm seed=3' are 2 overrides in one word: write head=ncm seed=3"),
        (["trainer.augment=[a,", "b]"], "'trainer.augment=[a, b]' is torn apart at a space: write 'trainer.augment=[a, b]'"),
        (["head.ridge=[1"], "'head.ridge=[1' does not follow Hydra's grammar (a missing ]): write 'head.ridge=[1]'"),
        (
            ["teacher.overrides=[+exp=joint,seed=1]"],
            "'teacher.overrides=[+exp=joint,seed=1]' does not follow Hydra's grammar ('=' inside a list): "
            "write 'teacher.overrides=[\"+exp=joint\",\"seed=1\"]'",
        ),
        (
            ["dataset=folder", "dataset.path=[raw]"],
            "dataset.path: expected a string or null, got [\"raw\"]  (set in: command line); a name in brackets is quoted: "
            "'dataset.path=\"[raw]\"'",
        ),
        (["seed=rnage(3)"], "'seed=rnage(3)' does not follow Hydra's grammar: it has no rnage(). Did you mean 'range'?"),
        (["fsa_film"], "'fsa_film' is no override: expected key=value. Did you mean +exp=fsa_film?"),
        (["wa"], "'wa' is no override: expected key=value. Did you mean method=wa?"),
        (["--x=3"], "'--x=3' is no override: '--x' is no key; expected key=value, as in seed=1 or head.ridge=0.1"),
    ],
)  # fmt: skip
def test_one_line(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(words)
    assert caught.value.problems == [line]


def test_a_path_with_a_space_that_the_shell_tore_apart(tmp_path: Path) -> None:
    (tmp_path / "my data").mkdir()
    with pytest.raises(ConfigError) as caught:
        load(["dataset=folder", *f"dataset.path={tmp_path}/my data".split(), "seed=1"])
    assert caught.value.problems == [
        f"'dataset.path={tmp_path}/my data' is torn apart at a space: write 'dataset.path=\"{tmp_path}/my data\"'"
    ]


def test_a_plain_value() -> None:
    assert quoting.plain("output_dir=/a=b") == "/a=b"
    assert quoting.plain('output_dir="/a=b"') == "/a=b"
    assert quoting.plain("output_dir=out") == "out"


def test_a_variable_of_the_shell_that_reached_hdx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOMEWHERE", "/x")
    with pytest.raises(ConfigError) as caught:
        load(["dataset=folder", "dataset.path=${SOMEWHERE}/data"])
    assert caught.value.problems == [
        "dataset.path: ${SOMEWHERE} refers to a key that is not in the config; a variable of the shell is put in by the shell: "
        "write the word in double quotes, or without"
    ]


def test_a_quoted_folder_of_runs() -> None:
    assert split_output_dir(['output_dir="/a=b, c"', "state=failed"]) == (Path("/a=b, c"), ["state=failed"])
    assert split_output_dir(["output_dir=/a=b"]) == (Path("/a=b"), [])
