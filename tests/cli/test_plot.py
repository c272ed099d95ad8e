"""`hdx plot`: which runs, which kind, which file."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hdx.config.validate import load
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.store.rundir import RunDir

pytest.importorskip("matplotlib", reason="hdx plot needs the extra: pip install 'hdx[plot]'")
Inside = Callable[..., tuple[int, str, str]]
HEADS = ("ncm", "ncm_cosine")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real runs on digits: two heads, two numbers of shots, two seeds, on one extraction of features."""
    folder = tmp_path_factory.mktemp("outputs")
    for head in HEADS:
        for shots in (2, 8):
            for seed in (0, 1):
                words = ["+exp=fsa_na", f"head={head}", "backbone=conv4", "protocol.step=5", f"protocol.shots={shots}"]
                config = load([*words, f"seed={seed}", f"output_dir={folder}"])
                launch(config, RunDir.of(config["output_dir"], config.run_id), Report(), None)  # type: ignore[arg-type]
    return folder


@pytest.mark.parametrize("kind", ["sessions", "forgetting", "matrix", "parameters", "cost", "shots"])
def test_every_kind(kind: str, outputs: Path, inside: Inside, tmp_path: Path) -> None:
    out = tmp_path / f"{kind}.svg"
    code, printed, err = inside("plot", kind, f"output_dir={outputs}", "--out", str(out), "--json")
    assert (code, err) == (0, "")
    document = json.loads(printed)
    assert sorted(document["groups"]) == sorted(f"{head}, {shots} shots" for head in HEADS for shots in (2, 8))
    text = out.read_text()
    assert "ncm" in text and ("2 shots" in text) == (kind != "shots") and document["caption"].endswith("n = 2.")


def test_filters(outputs: Path, inside: Inside) -> None:
    chosen = json.loads(inside("plot", "sessions", f"output_dir={outputs}", "protocol.shots=8", "--out", "a.png", "--json")[1])
    assert chosen["groups"] == ["ncm", "ncm_cosine"]
    chosen = json.loads(inside("plot", "matrix", f"output_dir={outputs}", "protocol.shots=8", "head=ncm_cosine", "--json")[1])
    assert (chosen["groups"], chosen["file"]) == (["fsa_na"], "matrix.png")


def test_runs_and_groups_are_named_as_everywhere(outputs: Path, inside: Inside) -> None:
    run = next((outputs / "runs").glob("*/*-s1"))
    name = "/".join(run.parts[-2:])
    for word, n in ((name, 1), (name.removesuffix("-s1"), 2)):
        found = json.loads(inside("plot", "matrix", word, f"output_dir={outputs}", "--json")[1])
        assert found["caption"].endswith(f"n = {n}.") and len(found["groups"]) == 1


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ([], "expected a kind of plot, got none  (one of sessions, matrix, "),
        (["sessions", "nobody"], "'nobody' is no run and no group."),
        (["sesions"], "kind 'sesions' is unknown. Did you mean 'sessions'?"),
        (["sessions", "--out", "a.jpg"], "--out a.jpg: expected a file that ends in .png, .svg, .pdf, got '.jpg'"),
        (["parameters", "--metric", "acc_lst"], "metric 'acc_lst' is unknown. Did you mean 'acc_last'?"),
        (["sessions", "--row", "NCM"], "--row and --column choose among the cells of a table: add --table NAME"),
        (["sessions", "--table", "heads_shots", "--row", "NMC"], "row 'NMC' is unknown. Did you mean 'NCM'?"),
        (["sessions", "--table", "heads_shots"], "nothing to plot: no finished run fits"),
        (["sessions", "output_dir=nowhere"], "nothing to plot: no finished run fits"),
    ],
)
def test_what_is_refused(words: list[str], line: str, inside: Inside) -> None:
    code, out, err = inside("plot", *words)
    assert (code, out) == (2, "") and err.startswith(f"hdx: {line}")
