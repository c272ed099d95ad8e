"""`hdx train`: one document, true numbers, and what happens when a run is asked for again."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits
from tests.integration.harness import config_of, config_words, errors_of, interrupted

from hdx.cli._summary import _costs
from hdx.config.identity import unhashed
from hdx.datasets.digits import Digits
from hdx.store.rundir import RunDir

Inside = Callable[..., tuple[int, str, str]]
FROZEN = ("+exp=fsa_na",)


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def train(inside: Inside, outputs: Path) -> Callable[..., dict[str, Any]]:
    def run(*words: str) -> dict[str, Any]:
        overrides = [word for word in words if not word.startswith("--")]
        options = [word for word in words if word.startswith("--")]
        code, out, err = inside("train", *config_words(outputs, *overrides), *options, "--json")
        assert code == 0, err
        return json.loads(out)

    return run


def stored(record: dict[str, Any]) -> list[dict[str, np.ndarray]]:
    found = []
    for session in record["sessions"]:
        with np.load(Path(record["run_dir"]) / "predictions" / f"{session['index']:02d}.npz", allow_pickle=False) as arrays:
            found.append(dict(arrays))
    return found


def test_the_document_says_what_a_script_needs(train: Callable[..., dict[str, Any]], outputs: Path) -> None:
    record = train(*FROZEN)
    assert record["state"] == "finished" and record["seed"] == 0
    assert record["run_id"] == config_of(outputs, *FROZEN).run_id
    assert Path(record["run_dir"]) == outputs / "runs" / record["run_id"]
    assert [s["index"] for s in record["sessions"]] == [0, 1, 2, 3, 4]
    assert [s["classes_seen"] for s in record["sessions"]] == [2, 4, 6, 8, 10]
    assert record["trainable_parameters"] == 0
    assert record["images_forwarded"] == len(load_digits().target) == 1797
    assert {"acc_last", "acc_avg_inc", "forgetting", "bwt", "nll_last", "ece_last", "gain_predictor"} <= set(record["metrics"])
    assert record["seconds"]["wall"] > 0 and record["seconds"]["sessions"] <= record["seconds"]["wall"]
    on_disk = json.loads((Path(record["run_dir"]) / "record.json").read_text())
    assert on_disk == record
    assert RunDir(Path(record["run_dir"])).status()["state"] == "finished"


def test_metrics_follow_from_the_stored_predictions(train: Callable[..., dict[str, Any]], outputs: Path) -> None:
    record = train(*FROZEN)
    test = Digits(None, outputs / "cache").test
    order = [name for session in record["sessions"] for name in session["new_classes"]]
    by_session, accuracies = [], []
    for session, arrays in zip(record["sessions"], stored(record)):
        seen = order[: session["classes_seen"]]
        truth = np.array([str(label) for label in test.labels])[arrays["index"]]
        assert sorted(arrays["index"]) == [i for i, label in enumerate(test.labels) if str(label) in seen]
        assert [seen[i] for i in arrays["label"]] == truth.tolist()
        hits = np.array([seen[i] for i in arrays["prediction"]]) == truth
        accuracies.append(hits.mean())
        assert session["acc"] == hits.mean()
        assert session["acc_per_class"] == {name: hits[truth == name].mean() for name in seen}
        groups = [hits[np.isin(truth, each["new_classes"])].mean() for each in record["sessions"][: session["index"] + 1]]
        assert session["acc_by_session"] == groups
        by_session.append(groups)
        assert session["nll"] == pytest.approx(-arrays["log_p_label"].mean(), rel=1e-12)
        np.testing.assert_array_equal(arrays["rank"] == 0, hits)  # no ties among float64 logits
    metrics = record["metrics"]
    assert metrics["acc_last"] == accuracies[-1]
    assert metrics["acc_avg_inc"] == pytest.approx(np.mean(accuracies), rel=1e-12)
    drops = [max(by_session[i][j] for i in range(j, 4)) - by_session[4][j] for j in range(4)]
    assert metrics["forgetting"] == pytest.approx(np.mean(drops), rel=1e-12)
    assert metrics["bwt"] == pytest.approx(np.mean([by_session[4][j] - by_session[j][j] for j in range(4)]), rel=1e-12)


def test_a_finished_run_is_not_run_again(train: Callable[..., dict[str, Any]], inside: Inside, outputs: Path) -> None:
    record = train(*FROZEN)
    files = {path: path.stat().st_mtime_ns for path in Path(record["run_dir"]).rglob("*")}
    code, out, err = inside("train", *config_words(outputs, *FROZEN), "--json")
    assert (code, json.loads(out)) == (0, record)
    assert "is finished" in err and "--force" in err
    assert {path: path.stat().st_mtime_ns for path in Path(record["run_dir"]).rglob("*")} == files


def test_force_runs_again_on_the_same_bank(train: Callable[..., dict[str, Any]]) -> None:
    before = train(*FROZEN)
    stamp = (Path(before["run_dir"]) / "sessions" / "00.json").stat().st_mtime_ns
    again = train(*FROZEN, "--force")
    assert (Path(before["run_dir"]) / "sessions" / "00.json").stat().st_mtime_ns > stamp
    assert again["metrics"] == before["metrics"]
    assert again["images_forwarded"] == 0


def test_the_text_ends_with_the_table_and_the_run(inside: Inside, train: Callable[..., dict[str, Any]], outputs: Path) -> None:
    record = train(*FROZEN)
    code, out, err = inside("train", *config_words(outputs, *FROZEN))
    assert (code, err) == (0, "")
    lines = out.splitlines()
    table = [line.split() for line in lines if line.strip().endswith(tuple("0123456789")) and "%" in line.split()]
    assert [row[1] for row in table[:5]] == ["2", "4", "6", "8", "10"]
    assert [row[4] for row in table[:5]] == [f"{100 * s['acc']:.2f}" for s in record["sessions"]]
    assert lines[-1] == f"run {record['run_dir']}"


def test_a_run_that_diverges_fails_with_its_reason_and_waits_for_retry(inside: Inside, outputs: Path) -> None:
    words = config_words(outputs, "+exp=fsa_film", "trainer.lr=1e30", "protocol.shots=5")
    code, out, err = inside("train", *words, "--json")
    line = errors_of(err)
    assert code == 2 and len(line) == 1
    assert "training diverged" in line[0] or "NaN or infinity" in line[0]
    assert "smaller trainer.lr" in line[0] and json.loads(out)["error"] == [line[0].removeprefix("hdx: ")]
    run_dir = RunDir(outputs / "runs" / config_of(outputs, "+exp=fsa_film", "trainer.lr=1e30", "protocol.shots=5").run_id)
    assert run_dir.status()["state"] == "failed" and run_dir.status()["reason"] in line[0]
    code, _, err = inside("train", *words)
    assert code == 2 and "failed before" in err and "--retry-failed" in err and len(err.splitlines()) == 1
    code, _, err = inside("resume", str(run_dir.path))
    assert code == 2 and "failed before" in err and "--retry-failed" in err
    code, _, err = inside("train", *words, "--retry-failed")
    assert code == 2 and "smaller trainer.lr" in err and "failed before" not in err


def test_a_failed_run_goes_on_when_its_cause_is_gone(inside: Inside, tmp_path: Path) -> None:
    words = ["+exp=fsa_na", "dataset=folder", f"dataset.path={tmp_path / 'images'}"]
    code, _, err = inside("train", *config_words(tmp_path / "out", *words))
    assert code == 2 and "images" in err and len(err.splitlines()) == 1
    from tests.integration.images import write_classes

    write_classes(tmp_path / "images", {"a": 5, "b": 5})
    code, out, err = inside("train", *config_words(tmp_path / "out", *words), "--retry-failed", "--json")
    assert code == 0, err
    assert json.loads(out)["sessions"][0]["classes_seen"] == 2


IDENTITY = (
    ("devices=2", "threads=2", "workers=0", "accelerator=auto", "tracker=wandb", "data_dir=/nowhere", "nodes=3"),
    ("trainer.checkpoint_seconds=1",),
)


@pytest.mark.parametrize("change", [word for words in IDENTITY for word in words])
def test_what_changes_no_result_changes_no_run_id(change: str, tmp_path: Path) -> None:
    run_id = config_of(tmp_path, "+exp=fsa_film").run_id
    assert config_of(tmp_path / "elsewhere", "+exp=fsa_film", change).run_id == run_id


def test_the_seed_is_the_end_of_the_run_id_and_results_change_its_hash(tmp_path: Path) -> None:
    run_id = config_of(tmp_path, "+exp=fsa_film").run_id
    assert run_id.endswith("-s0")
    assert config_of(tmp_path, "+exp=fsa_film", "seed=7").run_id == run_id.removesuffix("s0") + "s7"
    others = {
        config_of(tmp_path, "+exp=fsa_film", change).run_id
        for change in ("head.ridge=2", "precision=bf16-mixed", "trainer.lr=0.1")
    }
    assert len(others) == 3 and run_id not in others
    assert "seed" in unhashed()


def test_a_changed_machine_option_reaches_an_unfinished_run(inside: Inside, outputs: Path) -> None:
    from hdx.config.validate import load_saved

    config = config_of(outputs, "+exp=ncm_frozen", "workers=1")
    run_dir = RunDir(outputs / "runs" / config.run_id)
    run_dir.path.mkdir(parents=True)
    config.save(run_dir.config_file)
    code, _, err = inside("train", *config_words(outputs, "+exp=ncm_frozen", "workers=0"))
    assert code == 0, err
    assert load_saved(run_dir.config_file)["workers"] == 0


@pytest.mark.parametrize("content", [b"", b"seed: 0\nhead: [", b"\xff\xfe\x00", b"- a\n"])
def test_train_writes_a_damaged_config_of_a_run_again(content: bytes, inside: Inside, outputs: Path) -> None:
    config = config_of(outputs, "+exp=ncm_frozen", f"seed={len(content)}")
    run_dir = RunDir(outputs / "runs" / config.run_id)
    run_dir.path.mkdir(parents=True, exist_ok=True)
    run_dir.config_file.write_bytes(content)
    code, _, err = inside("resume", str(run_dir.path))
    assert code == 2 and str(run_dir.config_file) in err and len(err.splitlines()) == 1
    code, _, err = inside("train", *config_words(outputs, "+exp=ncm_frozen", f"seed={len(content)}"))
    assert code == 0, err


def test_an_output_dir_that_is_a_file(inside: Inside, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, _, err = inside("train", *config_words(tmp_path / "file", "+exp=fsa_na"))
    assert code == 2 and "output_dir" in err and len(err.splitlines()) == 1
    assert (tmp_path / "file").read_text() == "mine"


def test_what_was_wrong_outside_the_run_needs_no_flag_once_mended(inside: Inside, tmp_path: Path) -> None:
    words = ["+exp=fsa_na", "dataset=caltech101", "dataset.train_per_class=2", "dataset.test_per_class=2", "protocol.step=2"]
    words += [f"data_dir={tmp_path}", f"output_dir={tmp_path / 'out'}"]
    code, _, err = inside("train", *words)
    assert code == 2 and "dataset caltech101 not found" in err
    for label, name in enumerate(("anchor", "bonsai")):
        folder = tmp_path / "101_ObjectCategories" / name
        folder.mkdir(parents=True)
        for i in range(4):
            Image.new("RGB", (12, 12), (40 * i + 100 * label, 9, 9)).save(folder / f"{i}.jpg")
    assert inside("train", *words)[0] == 0


def test_a_launcher_is_for_sweeps(inside: Inside) -> None:
    code, _, err = inside("train", "+exp=fsa_na", "launcher=slurm")
    assert code == 2 and err.startswith("hdx: launcher=slurm: hdx train runs here; hdx sweep")


def test_a_resumed_run_took_at_least_as_long_as_its_parts(tmp_path: Path, inside: Inside) -> None:
    words = ("+exp=fsa_na", "protocol.shots=2")
    run_dir = interrupted(tmp_path, *words, after=4)
    for file in (run_dir.path / "sessions").iterdir():
        session = json.loads(file.read_text())
        session["seconds"] |= {"total": 100.0, "extract": 90.0}
        file.write_text(json.dumps(session))
    code, out, _ = inside("train", *config_words(tmp_path, *words), "--json")
    seconds = json.loads(out)["seconds"]
    assert code == 0 and seconds["wall"] > seconds["sessions"] > 400 and seconds["wall"] < 500
    assert seconds["wall"] >= sum(value for name, value in seconds.items() if name not in ("wall", "sessions"))


def test_rows_of_metrics_csv_say_their_session(train: Callable[..., dict[str, Any]]) -> None:
    with (Path(train(*FROZEN)["run_dir"]) / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["session"] for row in rows] == ["0", "1", "2", "3", "4"]


def test_seconds_without_parts_have_no_brackets() -> None:
    record = {
        "metrics": {},
        "seconds": {"wall": 0.4, "sessions": 0.3, "solve": 0.01},
        "sessions": [{}],
        **dict.fromkeys(("trainable_parameters", "images_forwarded", "images_trained"), 0),
    }
    assert _costs(record)[-1] == "seconds 0.4"
