"""`hdx list` and `hdx show`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from hdx import registry
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


def test_columns_are_aligned(inside: Inside, document: Document) -> None:
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
        ("haed=lda", "hdx: group 'haed' is unknown. Did you mean 'head'?  (hdx list)\n"),
        ("head", "hdx: which head? hdx show head=NAME  (hdx list head)\n"),
        ("exp=fsa_flim", "hdx: exp 'fsa_flim' is unknown. Did you mean 'fsa_film'?  (hdx list exp)\n"),
    ],
)
def test_what_cannot(what: str, line: str, inside: Inside) -> None:
    assert inside("show", what) == (2, "", line)


def test_show_tells_the_licence_of_a_dataset(document: Document) -> None:
    assert document("show", "dataset=sign_digits")["licence"] == "Apache-2.0"
