"""`--force`, and every other start: what cannot run takes nothing away and leaves nothing behind."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image
from tests.integration.harness import config_words, environment, errors_of, small_train

from hdx.trackers.csv import CsvTracker

Inside = Callable[..., tuple[int, str, str]]
RUN = ("+exp=ncm_frozen", "protocol.shots=2")


def contents(folder: Path) -> dict[str, bytes]:
    """Every file that is no index and no cache."""
    kept = [path for path in (folder / "runs").rglob("*") if path.is_file()]
    return {str(path): path.read_bytes() for path in kept}


def broken_tracker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise OSError("no room in the tracker")

    monkeypatch.setattr(CsvTracker, "__init__", fails)


def test_force_keeps_a_finished_run_that_cannot_start_again(
    inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = config_words(tmp_path, *RUN)
    assert inside("train", *words)[0] == 0
    before = contents(tmp_path)
    monkeypatch.setattr("hdx.heads.ncm.NCM.__init__", lambda *_, **__: 1 / 0)
    assert inside("train", *words, "--force")[0] == 1
    assert contents(tmp_path) == before
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    broken_tracker(monkeypatch)
    assert inside("train", *words, "--force")[0] == 1
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    code, out, _ = inside("train", *words, "--json")
    record = json.loads(out)
    assert code == 0 and record["state"] == "finished"
    assert contents(tmp_path)[f"{record['run_dir']}/record.json"] == before[f"{record['run_dir']}/record.json"]


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("protocol.shots=5000",), "protocol.shots: expected at most"),
        (("protocol.first=20",), "got 20"),
        (("dataset=caltech101", "data_dir=nowhere"), "dataset caltech101 not found"),
        (("backbone.pretrained=true", "backbone.checkpoint=none.pt"), "backbone.checkpoint: no file"),
        (("teacher=run", "teacher.run=nobody", "method=distill", "loss=kd", "head=linear", "adapter=full"), "teacher.run"),
        (("backbone=timm", "backbone.model=resnet19"), "timm has no such model"),
    ],
)
def test_what_cannot_run_leaves_no_run_behind(words: tuple[str, ...], why: str, inside: Inside, tmp_path: Path) -> None:
    code, _, err = inside("train", *config_words(tmp_path / "out", "+exp=ncm_frozen", *words))
    assert code == 2 and why in err and len(errors_of(err)) == 1, err
    assert not (tmp_path / "out" / "runs").exists()


ELSEWHERE = (
    (["train", "+exp=ncm_frozen", "dataset=folder", "dataset.path=/nope"], "dataset.path=/nope does not exist"),
    (["train", "+exp=ncm_frozen", "dataset=folder", "dataset.path=/nope", "--cfg", "job"], "dataset.path=/nope does not exist"),
    (["sweep", "+exp=ncm_frozen", "dataset=folder", "dataset.path=/nope", "seed=0,1", "--dry-run"], "does not exist"),
    (["train", "+exp=ncm_frozen", "dataset=caltech101", "data_dir=/nope"], "dataset caltech101 not found under /nope"),
    (["train", "+exp=ncm_frozen", "protocol.first=20"], "the dataset has 10 classes, got 20"),
    (["sweep", "+exp=ncm_frozen", "protocol.step=5,20", "--cfg", "job"], "got 20  (1 of 2 runs)"),
    (
        ["train", "+exp=ncm_frozen", "backbone.pretrained=false", "backbone.checkpoint=/nope.pt"],
        "backbone.checkpoint: no file /nope.pt",
    ),
    (["train", "+exp=kd_kd"], "make it first:  hdx train"),
    (["train", "+exp=kd_kd", "teacher.overrides=null", "teacher.run=nobody"], "teacher.run: run 'nobody'"),
    (["predict", "model.safetensors", "/nope.png"], "/nope.png does not exist"),
    (["predict", "model.safetensors", "."], "model model.safetensors: no such file"),
)


def test_what_is_not_there_is_said_before_torch_is_imported(tmp_path: Path) -> None:
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    script = (
        "import json, sys; from hdx.cli.main import main\n"
        "for words in json.loads(sys.argv[1]): print(main(words), 'torch' in sys.modules)"
    )
    words = json.dumps([words for words, _ in ELSEWHERE])
    done = subprocess.run(
        [sys.executable, "-c", script, words], env=environment(), cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == ["2 False"] * len(ELSEWHERE), done.stderr
    lines = done.stderr.splitlines()
    assert len(lines) == len(ELSEWHERE) and [why in line for (_, why), line in zip(ELSEWHERE, lines)] == [True] * len(lines)
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize(
    ("words", "module", "line"),
    [
        (("train", "tracker=tensorboard"), "tensorboard", "pip install 'hdx[tensorboard]'"),
        (("train", "tracker=wandb"), "wandb", "pip install 'wandb'"),
        (("train", "tracker=wandb", "--cfg", "job"), "wandb", "pip install 'wandb'"),
        (("sweep", "seed=0,1", "launcher=slurm"), "submitit", "pip install 'hdx[slurm]'"),
        (("sweep", "seed=0,1", "launcher=ray", "--dry-run"), "ray", "pip install 'hdx[ray]'"),
    ],
)
def test_a_package_that_is_not_installed(
    words: tuple[str, ...], module: str, line: str, inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    code, out, err = inside(*words, "+exp=ncm_frozen", f"output_dir={tmp_path / 'out'}")
    assert (code, out, len(err.splitlines())) == (2, "", 1) and line in err, err
    assert not (tmp_path / "out").exists()


def test_a_tracker_sees_no_rows_of_before(inside: Inside, tmp_path: Path) -> None:
    words = config_words(tmp_path, *RUN)
    assert inside("train", *words)[0] == 0
    file = next(tmp_path.glob("runs/*/*/metrics.csv"))
    rows = file.read_text().splitlines()
    file.write_text("\n".join([*rows, "9,9,0.5"]) + "\n")
    assert inside("train", *words, "--force")[0] == 0
    assert len(file.read_text().splitlines()) == len(rows)


def test_ranks_start_over_with_force(inside: Inside, tmp_path: Path) -> None:
    words = config_words(tmp_path, *RUN)
    code, out, _ = inside("train", *words, "--json")
    first = json.loads(out)
    again = [*small_train(tmp_path, *RUN, "devices=2"), "--force", "--json"]
    done = subprocess.run(again, env=environment(), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    assert (record["ranks"], record["metrics"]) == (2, first["metrics"]) and record["run_dir"] == first["run_dir"]
