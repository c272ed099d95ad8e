"""CSV and JSON read back to the same numbers; Markdown and LaTeX hold what they print; LaTeX compiles."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.report.data import as_csv, as_json
from hdx.report.latex import escaped, latex
from hdx.report.layout import lay_out
from hdx.report.table import Table
from hdx.report.text import markdown, terminal
from tests.unit.report.test_table import finish_all, table

Finish = Callable[..., None]
NASTY = r"50 % of a_b & {c} #1 $x$ ~ ^ \end{table} [x] <i> | ± − × “q” é ć λ †"


@pytest.fixture
def full(conf: Path, tmp_path: Path, finish: Finish) -> Table:
    finish_all(conf, tmp_path, finish, ncm_seeds=(0, 1))
    return table(conf, tmp_path)


@pytest.fixture
def nasty(conf: Path, tmp_path: Path, finish: Finish, edit: Callable[..., None]) -> Table:
    def spoil(content: dict) -> None:
        content.update(title=NASTY, caption=[NASTY], compare_to=NASTY)
        content["rows"][0].update(label=NASTY, section=NASTY)
        content["columns"][1]["label"] = NASTY
        content["rows"][0]["published"][NASTY] = content["rows"][0]["published"].pop("forgotten")
        content["rows"][2]["published"]["last"]["setting"] = NASTY

    edit(spoil)
    return table(conf, tmp_path)


def test_json_reads_back(full: Table) -> None:
    document = json.loads(as_json(full))
    cells = {(cell["row"], cell["column"]): cell for cell in document["cells"]}
    for row in full.entries.values():
        for entry in row.values():
            cell = cells[entry.cell.row.label, entry.cell.column.label]
            ours = entry.ours and {"mean": entry.ours.mean, "ci95": entry.ours.half, "n": entry.ours.n}
            assert cell["ours"] == ours and cell["difference"] == entry.difference
            assert cell["values"] == {str(seed): value for seed, value in entry.cell.values.items()}
            assert (cell["published"] or {}).get("value") == (entry.published and entry.published.value)
            assert (cell["paired"] or {}).get("mean") == (entry.paired and entry.paired.mean)
    assert document["commands"] and document["seeds"] == [0, 1, 2] and document["compare_to"] == "LDA"


def test_csv_reads_back(full: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(as_csv(full))))
    assert len(lines) == 6
    cells = {(line["row"], line["column"]): line for line in lines}

    def number(text: str) -> float | None:
        return float(text) if text else None

    for row in full.entries.values():
        for entry in row.values():
            line = cells[entry.cell.row.label, entry.cell.column.label]
            assert number(line["ours"]) == (entry.ours and entry.ours.mean)
            assert number(line["ours_ci95"]) == (entry.ours and entry.ours.half)
            assert int(line["n"]) == (entry.ours.n if entry.ours else 0)
            assert number(line["published"]) == (entry.published and entry.published.value)
            assert number(line["difference"]) == entry.difference
            assert number(line["paired"]) == (entry.paired and entry.paired.mean)
            assert line["missing_seeds"].split() == [str(seed) for seed in entry.cell.missing]


def test_terminal(full: Table) -> None:
    text = terminal(lay_out(full))
    lines = text.splitlines()
    assert lines[0] == "Toy"
    body = "\n".join(lines[2 : lines.index("a note")])
    assert re.search(r"LDA +ours +81\.67 ± 5\.17 +n/a", body)
    assert re.search(r"published +92\.1 ± 0\.3 \[1\] +7\.5 bwt \[2\]†", body)
    assert re.search(r"ours − published +-10\.43", body)
    assert re.search(r"NCM +ours +74\.00 \(n=2\) +5\.00 \(n=2\)", body)
    assert re.search(r"minus LDA +-8\.50 \(n=2\)", body)
    assert re.search(r"theirs +published +95\.5 \[3\]", body)
    assert (
        "Mean ± 95 % confidence interval (Student t) over seeds 0, 1, 2, n = 3; other n in brackets, no interval under 3." in text
    )
    assert "[1] Nobody 2020, table 3: digits" in lines and "[2] Nobody 2020: digits; from memory, not verified" in lines
    assert "† not to be judged by, for how it is known: [2], after the semicolon" in lines
    assert "  hdx train +exp=fsa_na head=ncm" in text and text.rstrip().endswith("# all 1 missing runs")


def test_columns_are_aligned(full: Table) -> None:
    lines = terminal(lay_out(full)).splitlines()
    ends = {line.index("last") + 4 for line in lines if line.strip().startswith("last ")}
    numbers = [line for line in lines if " ours " in line or "minus LDA" in line]
    assert len(ends) == 1
    for line in numbers:
        assert line[: ends.copy().pop()].rstrip() == line[: ends.copy().pop()], line


def test_markdown(full: Table, nasty: Table) -> None:
    for one in (full, nasty):
        lines = [line for line in markdown(lay_out(one)).splitlines() if line.startswith("|")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
        assert re.fullmatch(r"\|(---:?\|)+", lines[1])
    assert "| LDA | ours | 81.67 ± 5.17 | n/a |" in markdown(lay_out(full))
    text = markdown(lay_out(nasty))
    assert "<i>" not in text and r"\[x\]" in text


def balanced(text: str) -> bool:
    """Braces that are not escaped match."""
    depth = 0
    for brace in re.sub(r"\\.", "", re.sub(r"(?m)^%.*$", "", text)):
        depth += (brace == "{") - (brace == "}")
        if depth < 0:
            return False
    return depth == 0


@settings(deadline=None, max_examples=60)
@given(st.text(max_size=30))
def test_any_text_is_escaped(text: str) -> None:
    out = escaped(text)
    assert out.isascii() and balanced(out)
    assert not re.search(r"(?<!\\)[%&#_]", re.sub(r"\\.", "", out))
    assert len(re.findall(r"\$", out.replace(r"\$", ""))) % 2 == 0


def test_latex(full: Table, nasty: Table) -> None:
    for one in (full, nasty):
        text = latex(lay_out(one))
        assert balanced(text)
        rows = [line for line in text.splitlines() if line.endswith(r"\\") and r"\multicolumn" not in line]
        assert {len(re.findall(r"(?<!\\)&", line)) for line in rows} == {3}
        for word in ("toprule", "midrule", "bottomrule", "begin{table}", "end{table}"):
            assert len(re.findall(rf"(?<!textbackslash\{{\}})\\{word}", text)) == 1, word
    assert r"81.67 $\pm$ 5.17" in latex(lay_out(full)) and "$-$10.43" in latex(lay_out(full))


@pytest.mark.parametrize("which", ["full", "nasty"])
def test_latex_compiles(which: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed (apt-get install texlive-latex-base texlive-latex-recommended)")
    (tmp_path / "toy.tex").write_text(latex(lay_out(request.getfixturevalue(which))))
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\\input{toy}\\end{document}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        errors="replace",
    )
    assert done.returncode == 0, done.stdout[-1500:]
    assert (tmp_path / "paper.pdf").read_bytes().startswith(b"%PDF")
