"""What is wrong in a table's file is said, all at once and with advice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdx.errors import ConfigError
from hdx.report.table_file import read_table

Edit = Callable[..., None]


def problems(conf: Path, name: str = "toy") -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read_table(name, [conf])
    return [line.partition("toy.yaml: ")[2] or line for line in caught.value.problems]


def test_a_good_table(conf: Path) -> None:
    spec = read_table("toy", [conf])
    assert (spec.title, spec.metric, spec.over, spec.seeds, spec.compare_to) == ("Toy", "acc_last", "seeds", (0, 1, 2), "LDA")
    assert [(column.label, column.metric) for column in spec.columns] == [("last", "acc_last"), ("forgotten", "forgetting")]
    assert [row.run for row in spec.rows] == [("+exp=fsa_na",), ("+exp=fsa_na", "head=ncm"), None]
    number = spec.rows[0].published["last"]
    assert (number.value, number.ci, number.table, number.certainty) == (92.1, 0.3, "3", "source")
    assert spec.caption == ("a note",) and spec.unavailable is None


def test_an_unknown_table(conf: Path) -> None:
    assert problems(conf, "tyo") == ["table 'tyo' is unknown. Did you mean 'toy'?  (hdx list table)"]


def test_everything_at_once(conf: Path, edit: Edit) -> None:
    def spoil(content: dict[str, Any]) -> None:
        content["colour"] = "red"
        content["metric"] = "acc_lst"
        content["over"] = "seed"
        content["seeds"] = [0, 0]
        content["compare_to"] = "LAD"
        content["columns"][1]["metrics"] = "pd"
        content["rows"][0]["published"]["lst"] = content["rows"][0]["published"].pop("last")
        content["rows"][0]["published"]["forgotten"] = {"value": "high", "metric": "bwt", "certainty": "sure", "paper": "x"}
        content["rows"][1]["label"] = "LDA"
        del content["rows"][2]["run"]

    edit(spoil)
    lines = problems(conf)
    for part in (
        "table: key 'colour' is unknown.",
        "metric: metric 'acc_lst' is unknown. Did you mean 'acc_last'?",
        "over: over 'seed' is unknown. Did you mean 'seeds'?",
        "seeds: expected a list of different integers in [0, 2^63), got [0, 0]",
        "compare_to: row 'LAD' is unknown. Did you mean 'LDA'?",
        "columns[1]: key 'metrics' is unknown. Did you mean 'metric'?",
        "row 'LDA'.published: column 'lst' is unknown. Did you mean 'last'?",
        "row 'LDA'.published.forgotten: value must be given as a number, got 'high'",
        "row 'LDA'.published.forgotten: certainty 'sure' is unknown.",
        "row 'LDA'.published.forgotten.setting: expected text, got None",
        "rows: label 'LDA' is given twice",
        "row 'theirs': run must be given",
    ):
        assert any(line.startswith(part) for line in lines), (part, lines)


@pytest.mark.parametrize("word", ["seed=3", "output_dir=/etc", "+data_dir=x", "++output_dir=y"])
def test_a_table_cannot_say_where_or_which_seed(word: str, conf: Path, edit: Edit) -> None:
    edit(set=[word])
    assert problems(conf)[0].startswith(f"set: '{word}' cannot be set in a table")


def test_compare_to_a_row_without_runs(conf: Path, edit: Edit) -> None:
    edit(compare_to="theirs")
    assert problems(conf) == ["compare_to: row 'theirs' has run: null, and differences are paired with runs"]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("title: a\ntitle: b\n", "key 'title' is given twice; a table is plain YAML"),
        ("title: !!python/object/apply:os.system [id]\n", "could not determine a constructor"),
        ("- 1\n", "expected a mapping with title"),
        ('title: "\\e[31mred"\n', "title: contains characters that cannot be printed"),
    ],
)
def test_what_is_no_table(text: str, line: str, conf: Path) -> None:
    (conf / "table" / "toy.yaml").write_text(text)
    assert any(line in each for each in problems(conf))


def test_a_number_that_the_sources_do_not_give(conf: Path, edit: Edit) -> None:
    edit(lambda content: content["rows"][2]["published"]["last"].update(value=None))
    assert read_table("toy", [conf]).rows[2].published["last"].value is None
