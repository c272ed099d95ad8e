"""`hdx table`: what a user sees before there are runs, fills by --run, and prints in every format."""

from __future__ import annotations

import csv
import io
import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from hdx.report.metrics import METRICS

Inside = Callable[..., tuple[int, str, str]]
Command = Callable[..., "subprocess.CompletedProcess[str]"]
TABLE = """\
# Two heads on digits.
# source: nobody
# hdx table two_heads
title: Two heads
metric: acc_last
seeds: [0, 1]
set: [dataset=digits, backbone=conv4, protocol.first=4, protocol.step=6]
compare_to: NCM
columns:
  - {label: last}
  - {label: forgotten, metric: forgetting}
rows:
  - label: NCM
    run: [+exp=fsa_na, head=ncm]
    published:
      last: {value: 90, paper: Nobody 2020, setting: digits, metric: acc_last, certainty: source}
  - {label: cosine NCM, run: [+exp=fsa_na, head=ncm_cosine]}
"""


@pytest.fixture(autouse=True)
def two_heads(tmp_path: Path) -> Path:
    """The table in the user's own ./conf."""
    file = tmp_path / "conf" / "table" / "two_heads.yaml"
    file.parent.mkdir(parents=True)
    file.write_text(TABLE)
    return file


def test_before_there_are_runs(inside: Inside) -> None:
    code, out, err = inside("table", "two_heads")
    assert (code, err) == (0, "")
    commands = out.split("missing cells (-) are filled by\n")[1].splitlines()
    assert [command.strip().partition("    #")[0] for command in commands] == [
        "hdx sweep +exp=fsa_na head=ncm dataset=digits backbone=conv4 protocol.first=4 protocol.step=6 seed=0,1",
        "hdx sweep +exp=fsa_na head=ncm_cosine dataset=digits backbone=conv4 protocol.first=4 protocol.step=6 seed=0,1",
        "hdx table two_heads --run",
    ]


def test_run_fills_prints_and_runs_nothing_twice(hdx: Command, inside: Inside, tmp_path: Path) -> None:
    done = hdx("table", "two_heads", "--run")
    assert done.returncode == 0, done.stderr
    assert "- published" not in done.stdout and "(n=2)" in done.stdout and "no interval under 3" in done.stdout
    records = [json.loads(file.read_text()) for file in sorted(tmp_path.glob("outputs/runs/fsa_na/*/record.json"))]
    assert len(records) == 4
    for record in records:  # whatever a run measures, a table can show
        assert set(record["metrics"]) <= set(METRICS)
        assert all(METRICS[name].of(record) is not None for name in ("acc_last", "forgetting", "seconds", "trainable_parameters"))
    document = json.loads(inside("table", "two_heads", "--json")[1])
    cell = document["cells"][0]
    accuracies = [
        100 * record["metrics"]["acc_last"]
        for record in records
        if f"fsa_na/{record['run_id'].split('/')[1][:8]}" == cell["group"]
    ]
    assert cell["ours"] == {"mean": pytest.approx(sum(accuracies) / 2), "ci95": None, "n": 2}
    assert cell["difference"] == pytest.approx(cell["ours"]["mean"] - 90)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("outputs/runs/*/*/record.json")}
    again = inside("table", "two_heads", "--run")
    assert again == (0, done.stdout, "")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("outputs/runs/*/*/record.json")} == before
    line = next(csv.DictReader(io.StringIO(inside("table", "two_heads", "--format", "csv")[1])))
    assert float(line["ours"]) == cell["ours"]["mean"]
    code, out, err = inside("plot", "sessions", "--table", "two_heads", "--column", "last", "--out", "curve.svg")
    assert (code, err) == (0, "wrote curve.svg\n") and out.endswith("mean over seeds, n = 2.\n")
    assert "cosine NCM" in (tmp_path / "curve.svg").read_text()


def test_a_file_instead_of_the_screen(inside: Inside, tmp_path: Path) -> None:
    for form, first in (("markdown", "**Two heads**"), ("latex", "% hdx table two_heads"), ("csv", "row,column"), ("json", "{")):
        assert inside("table", "two_heads", "--format", form, "--out", "deep/table.out") == (0, "", "wrote deep/table.out\n")
        assert (tmp_path / "deep" / "table.out").read_text().startswith(first)


def test_overrides_and_folders_are_in_the_commands(inside: Inside) -> None:
    code, out, _ = inside("table", "two_heads", "output_dir=my runs", "trainer.epochs=1")
    assert code == 0 and "hdx table two_heads 'output_dir=my runs' trainer.epochs=1 --run" in out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["two_haeds"], "hdx: table 'two_haeds' is unknown. Did you mean 'two_heads'?  (hdx list table)\n"),
        (["two_heads", "seed=3"], "hdx: seed cannot be set for a table: its file lists the seeds  (seeds: [0, 1, 2])\n"),
        (["two_heads", "--formt"], "hdx: option '--formt' is unknown. Did you mean '--format'?  (hdx table --help)\n"),
    ],
)
def test_what_is_refused(words: list[str], line: str, inside: Inside) -> None:
    assert inside("table", *words) == (2, "", line)


def test_a_metric_and_a_row_that_do_not_exist(inside: Inside, two_heads: Path) -> None:
    two_heads.write_text(
        TABLE.replace("metric: acc_last\nseeds", "metric: acc_lats\nseeds").replace("compare_to: NCM", "compare_to: NMC")
    )
    code, out, err = inside("table", "two_heads")
    assert (code, out) == (2, "")
    assert "metric 'acc_lats' is unknown. Did you mean 'acc_last'?" in err and "row 'NMC' is unknown. Did you mean 'NCM'?" in err


def test_an_unavailable_table_is_not_run(inside: Inside) -> None:
    code, out, err = inside("table", "nmc_baseline", "--run")
    assert (code, out) == (2, "")
    assert err == (
        "hdx: table nmc_baseline lacks the ImageNet-21k weights of ViT-B/16, and CIFAR-100; "
        "with these at hand add --available (and data_dir=… where they are)\n"
    )


def test_a_table_needs_no_torch(hdx: Command, tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise SystemExit('torch was imported')")
    done = hdx("table", "two_heads", PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "") and done.stdout.startswith("Two heads")
