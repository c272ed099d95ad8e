"""No config, checkpoint or cached file can run code: each test plants something that would make a file, and finds none."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from hdx.cli.main import main
from hdx.store.rundir import RunDir
from tests.integration.harness import SMALL, config_of, config_words, small_train, start, train

Hdx = Callable[..., tuple[int, str]]
QUICK = ("+exp=fsa_na", "protocol.shots=5")


class Bomb:
    """Unpickling it makes a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self):  # type: ignore[no-untyped-def]
        return os.mkdir, (str(self.marker),)


@pytest.fixture
def marker(tmp_path: Path) -> Path:
    return tmp_path / "pwned"


@pytest.fixture
def hdx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hdx:
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str]:
        code = main(list(words))
        return code, capsys.readouterr().err

    return run


def one_line(err: str) -> str:
    lines = err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("hdx: "), err
    return lines[0]


def test_the_bomb_is_live(marker: Path) -> None:
    pickle.loads(pickle.dumps(Bomb(marker)))
    assert marker.is_dir()


@pytest.mark.parametrize(
    "key", ["+_target_", "+head._target_", "+backbone._target_", "+dataset.transform._target_", "+protocol._args_"]
)
def test_a_target_on_the_command_line(key: str, hdx: Hdx, marker: Path, tmp_path: Path) -> None:
    words = [*config_words(tmp_path / "out", *QUICK), f"{key}=os.mkdir", f"+head.path={marker}"]
    code, err = hdx("train", *words)
    assert code == 2 and "cannot name code to run" in err and "Traceback" not in err
    assert not marker.exists() and not (tmp_path / "out").exists()


YAML_TAG = "name: lda\ncovariance: total\nprior: uniform\nshrinkage: 0.0\nridge: !!python/object/apply:os.mkdir ['{marker}']\n"
TARGET = "name: lda\ncovariance: total\nprior: uniform\nshrinkage: 0.0\nridge: {{_target_: os.mkdir, path: '{marker}'}}\n"
RESOLVER = "name: lda\ncovariance: total\nprior: uniform\nshrinkage: 0.0\nridge: ${{oc.env:HOME}}\n"


@pytest.mark.parametrize("content", [YAML_TAG, TARGET, RESOLVER], ids=["tag", "target", "resolver"])
def test_a_config_file_of_the_user(content: str, hdx: Hdx, marker: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "head").mkdir(parents=True)
    (tmp_path / "conf" / "head" / "evil.yaml").write_text(content.format(marker=marker))
    code, err = hdx("train", *config_words(tmp_path / "out", *QUICK, "head=evil"))
    assert code == 2 and "a config is" in err and "Traceback" not in err
    assert all(line.startswith("hdx: head.ridge") or "evil.yaml" in line for line in err.splitlines())
    assert not marker.exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "line",
    [
        "seed: !!python/object/apply:os.mkdir ['{marker}']",
        "seed: {{_target_: os.mkdir, path: '{marker}'}}",
        "seed: ${{oc.env:HOME}}",
    ],
    ids=["tag", "target", "resolver"],
)
def test_the_config_of_a_run(line: str, hdx: Hdx, marker: Path, tmp_path: Path) -> None:
    config = config_of(tmp_path / "out", *QUICK)
    run_dir = RunDir(tmp_path / "out" / "runs" / config.run_id)
    run_dir.path.mkdir(parents=True)
    config.save(run_dir.config_file)
    text = run_dir.config_file.read_text().replace("\nseed: 0", "\n" + line.format(marker=marker))
    run_dir.config_file.write_text(text)
    code, err = hdx("resume", str(run_dir.path))
    assert code == 2 and str(run_dir.config_file) in one_line(err)
    assert not marker.exists()


@pytest.mark.parametrize("name", ["weights.pt", "weights.pth", "weights.safetensors"])
@pytest.mark.parametrize("writer", ["pickle", "torch"])
def test_a_pickle_as_backbone_checkpoint(name: str, writer: str, hdx: Hdx, marker: Path, tmp_path: Path) -> None:
    if writer == "pickle":
        (tmp_path / name).write_bytes(pickle.dumps({"state_dict": Bomb(marker)}))
    else:
        torch.save({"state_dict": {"stem.0.weight": Bomb(marker)}}, tmp_path / name)
    code, err = hdx("train", *config_words(tmp_path / "out", *QUICK, f"backbone.checkpoint={tmp_path / name}"))
    assert code == 2 and name in one_line(err)
    assert not marker.exists()


def interrupted(folder: Path, *words: str) -> RunDir:
    """A run whose last two sessions are not done yet."""
    run_dir = RunDir(Path(train(folder, *words)["run_dir"]))
    (run_dir.path / "record.json").unlink()
    last = load_file(run_dir.checkpoints / "session-04.safetensors")
    for session in (3, 4):
        (run_dir.path / "sessions" / f"{session:02d}.json").unlink()
    run_dir.set_status("interrupted")
    save_file(last, run_dir.checkpoints / "session-02.safetensors")
    return run_dir


@pytest.mark.parametrize("kind", ["pickle", "other names", "other shapes", "truncated"])
def test_a_session_checkpoint_that_is_none(kind: str, hdx: Hdx, marker: Path, tmp_path: Path) -> None:
    run_dir = interrupted(tmp_path / "out", *QUICK)
    file = run_dir.checkpoints / "session-02.safetensors"
    if kind == "pickle":
        file.write_bytes(pickle.dumps(Bomb(marker)))
    elif kind == "other names":
        save_file({"evil/__class__": torch.zeros(1), "body/x": torch.zeros(1)}, file)
    elif kind == "truncated":
        file.write_bytes(file.read_bytes()[:-100])
    code, err = hdx("resume", str(run_dir.path))  # "other shapes": the state after ten classes, where six are due
    assert code == 2 and str(file) in one_line(err) and "--force" in err
    assert run_dir.status()["state"] == "failed" and not marker.exists()
    code, err = hdx("train", *config_words(tmp_path / "out", *QUICK), "--force")
    assert code == 0, err


def test_a_pickle_for_the_checkpoint_of_a_phase(hdx: Hdx, marker: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    words = ("+exp=fsa_film", "protocol.shots=5", "trainer.epochs=1")
    clean = train(tmp_path / "clean", *words)
    run_dir = RunDir(tmp_path / "out" / "runs" / config_of(tmp_path / "out", *words).run_id)
    run_dir.checkpoints.mkdir(parents=True)
    torch.save({"step": Bomb(marker)}, run_dir.checkpoints / "phase-00-0.pt")
    code, _ = hdx("train", *config_words(tmp_path / "out", *words))
    assert code == 0 and not marker.exists()
    assert "phase-00-0.pt is damaged" in caplog.text
    assert (run_dir.record() or {})["metrics"] == clean["metrics"]


def test_a_pickle_in_the_predictions(hdx: Hdx, marker: Path, tmp_path: Path) -> None:
    run_dir = interrupted(tmp_path / "out", *QUICK)
    for session in (3, 4):  # all sessions are done, the record is not: it is made from the predictions
        run_dir.write_session({**run_dir.session_records()[-1], "index": session})
    save_file(load_file(run_dir.checkpoints / "session-02.safetensors"), run_dir.checkpoints / "session-04.safetensors")
    array = io.BytesIO()
    np.save(array, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    with zipfile.ZipFile(run_dir.path / "predictions" / "01.npz", "w") as archive:
        archive.writestr("label.npy", array.getvalue())
    code, err = hdx("resume", str(run_dir.path))
    assert code == 2 and "01.npz" in one_line(err) and not marker.exists()


def test_a_pickle_in_the_image_cache(marker: Path, tmp_path: Path) -> None:
    train(tmp_path / "out", *QUICK)
    file = next((tmp_path / "out" / "cache").glob("digits*.npy"))
    np.save(file, np.array([Bomb(marker)], dtype=object), allow_pickle=True)
    process = start(small_train(tmp_path / "out", *QUICK, "seed=1"))  # this one would find the images in memory
    _, err = process.communicate()
    assert process.returncode == 0 and not marker.exists()
    assert "are damaged" in err and "Traceback" not in err
    assert np.load(file, allow_pickle=False).shape == (1797, 1, 8, 8)


def test_a_pickle_in_the_bank_and_in_the_record(hdx: Hdx, marker: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    record = train(tmp_path / "out", *QUICK)
    for file in (tmp_path / "out" / "bank").rglob("features"):
        content = pickle.dumps(Bomb(marker))
        file.write_bytes(content + file.read_bytes()[len(content) :])
    again = train(tmp_path / "out", *QUICK, "head=ncm")
    assert "do not match their checksums" in caplog.text and not marker.exists()
    assert again["images_forwarded"] == 1  # the one row that was overwritten and is asked for: of the test split
    (Path(record["run_dir"]) / "record.json").write_bytes(pickle.dumps(Bomb(marker)))
    code, err = hdx("train", *config_words(tmp_path / "out", *QUICK))
    assert code == 2 and "record.json" in one_line(err) and not marker.exists()
    assert SMALL[0] == "backbone.pretrained=false"
