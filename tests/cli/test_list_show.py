"""`hdx list` and `hdx show`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdx import registry
from hdx.cli.main import COMMANDS
from hdx.config import files

Inside = Callable[..., tuple[int, str, str]]
Document = Callable[..., Any]


@pytest.mark.parametrize("group", registry.groups())
def test_every_group_lists_name_summary_source(group: str, document: Document) -> None:
    rows = document("list", group)
    assert set(registry.names(group)) <= {row["name"] for row in rows}
    for row in rows:
        assert list(row) == ["name", "summary", "source"] and all(row.values()), row


def test_groups(document: Document, inside: Inside) -> None:
    names = [row["name"] for row in document("list")]
    assert set(names) == {*registry.groups(), *files.PLAIN}
    code, out, _ = inside("list")
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == names


def test_columns_are_aligned(inside: Inside, document: Document, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "500")
    rows = document("list", "head")
    lines = inside("list", "head")[1].splitlines()
    column = max(len(row["name"]) for row in rows) + 2
    assert [line[column:].startswith(row["summary"]) for line, row in zip(lines, rows)] == [True] * len(rows)


def test_show_a_component(document: Document, inside: Inside) -> None:
    shown = document("show", "head=lda")
    options = {option["name"]: option for option in shown["options"]}
    assert shown["source"] and shown["summary"] and shown["command"].startswith("hdx train ")
    ridge = options["ridge"]
    assert (ridge["type"], ridge["bound"], ridge["default"], ridge["required"]) == ("float >= 0", ">= 0", 1.0, False)
    assert options["covariance"]["choices"] == ["total", "within"]
    assert all(option["meaning"] for option in shown["options"])
    code, out, _ = inside("show", "head=lda")
    assert code == 0 and "head.ridge  (float >= 0; default 1.0)" in out and ridge["meaning"].split()[0] in out


def test_show_a_preset(document: Document, inside: Inside) -> None:
    shown = document("show", "exp=fsa_film")
    assert shown["sets"]["adapter"] == "film" and shown["sets"]["method"] == "first_session"
    assert shown["command"] == "hdx train +exp=fsa_film"
    assert document("show", "+exp=fsa_film") == shown
    assert "adapter=film" in inside("show", "exp=fsa_film")[1]


def test_show_the_options_of_every_run(document: Document) -> None:
    names = [option["name"] for option in document("show", "run")["options"]]
    assert {"seed", "data_dir", "output_dir", "devices", "precision"} <= set(names)


@pytest.mark.parametrize("group", registry.groups())
def test_everything_that_is_listed_can_be_shown(group: str, document: Document) -> None:
    for row in document("list", group):
        shown = document("show", f"{group}={row['name']}")
        assert (shown["name"], shown["summary"], shown["source"]) == (row["name"], row["summary"], row["source"])


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("head=lad", "hdx: head 'lad' is unknown. Did you mean 'lda'?  (hdx list head)\n"),
        (
            "replay",
            "hdx: 'replay' is the name of several: memory=replay, method=replay  (hdx show memory=replay)\n",
        ),
        ("table=", "hdx: which table? hdx show table=NAME  (hdx list table)\n"),
        ("haed=lda", "hdx: group 'haed' is unknown. Did you mean 'head'?  (hdx list)\n"),
        ("head", "hdx: which head? hdx show head=NAME  (hdx list head)\n"),
        ("exp=fsa_flim", "hdx: exp 'fsa_flim' is unknown. Did you mean 'fsa_film'?  (hdx list exp)\n"),
    ],
)
def test_what_cannot(what: str, line: str, inside: Inside) -> None:
    assert inside("show", what) == (2, "", line)


def test_show_tells_the_licence_of_a_dataset(document: Document) -> None:
    assert document("show", "dataset=sign_digits")["licence"] == "Apache-2.0"


@pytest.mark.parametrize("group", ["exp", "method", "table"])
@pytest.mark.parametrize("columns", [40, 80, None])
def test_lines_fit(group: str, columns: int | None, inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    if columns:
        monkeypatch.setenv("COLUMNS", str(columns))
    code, out, _ = inside("list", group)
    assert code == 0 and max(map(len, out.splitlines())) <= (columns or 100)


def test_a_word_is_looked_up_everywhere(document: Document, inside: Inside) -> None:
    assert [row["name"] for row in document("list", "wa")] == ["method=wa", "+exp=cil_wa", "hdx table wa_cifar100"]
    assert document("show", "wa") == document("show", "method=wa")
    assert document("show", "ridge")["group"] == "head"
    code, _, err = inside("show", "cil")
    assert code == 2 and err.startswith("hdx: 'cil' is no name, but part of some: exp=cil_cumulative, ")
    assert " (hdx list cil has all " in err


@pytest.mark.parametrize("group", [*registry.groups(), *files.PLAIN])
def test_the_command_that_is_shown_exists(group: str, document: Document) -> None:
    for row in document("list", group):
        words = document("show", f"{group}={row['name']}")["command"].split()
        assert words[0] == "hdx" and words[1] in COMMANDS
        assert (words[1] == "table") == (group == "table") and f"+{group}=" not in words[1:] or group != "table"


@pytest.mark.parametrize("content", ["seed: 3\n", "defaults:\n  - override /head: ncm\n"])
def test_a_preset_without_its_package(content: str, inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "conf" / "exp").mkdir(parents=True)
    (tmp_path / "conf" / "exp" / "mine.yaml").write_text(content)
    line = (
        "hdx: +exp=mine: ./conf/exp/mine.yaml lacks the line '# @package _global_' at its top, which puts its keys where hdx "
        "looks for them\n"
    )
    assert inside("train", "+exp=mine") == (2, "", line)
    assert inside("sweep", "+exp=mine", "seed=1,2", "--dry-run") == (2, "", line)
