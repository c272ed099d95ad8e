"""What users' folders and protocols can look like: a result or one clear line, never a traceback."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hdx.cli.main import main
from tests.integration.harness import config_words
from tests.integration.images import write_classes, write_zip

Hdx = Callable[..., tuple[int, str, str]]


@pytest.fixture
def hdx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hdx:
    monkeypatch.chdir(tmp_path)

    def run(*overrides: str, exp: str = "fsa_na", options: tuple[str, ...] = ("--json",)) -> tuple[int, str, str]:
        capsys.readouterr()
        with warnings.catch_warnings():
            warnings.simplefilter("error", RuntimeWarning)  # numpy's "mean of empty slice" is no message for a user
            code = main(["train", *config_words(tmp_path / "out", f"+exp={exp}", *overrides), *options])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def folder(path: Path) -> tuple[str, str, str]:
    return "dataset=folder", f"dataset.path={path}", "dataset.image_size=16"


def result(answer: tuple[int, str, str]) -> dict[str, Any]:
    code, out, err = answer
    assert code == 0, err

    def no_nan(word: str) -> None:
        raise AssertionError(f"{word} is not JSON")

    return json.loads(out, parse_constant=no_nan)


def refusal(answer: tuple[int, str, str]) -> str:
    code, _, err = answer
    lines = [line for line in err.splitlines() if line.startswith("hdx: ")]
    assert code == 2 and len(lines) == 1 and "Traceback" not in err, err
    return lines[0]


def test_one_class(hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images", {"only": 5})
    assert "at least 2" in refusal(hdx(*folder(tmp_path / "images"))) or "class" in refusal(
        hdx(*folder(tmp_path / "images"), "seed=1")
    )


def test_an_empty_class(hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images", {"a": 5, "b": 5, "void": 0})
    assert "'void'" in refusal(hdx(*folder(tmp_path / "images")))


@pytest.mark.parametrize("storage", ["memory", "disk"])
def test_a_corrupt_image_in_the_middle(storage: str, hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images", {"a": 9, "b": 9})
    broken = tmp_path / "images" / "b" / "4.png"
    broken.write_bytes(broken.read_bytes()[:80])
    line = refusal(hdx(*folder(tmp_path / "images"), f"dataset.storage={storage}", "dataset.test_fraction=0.3"))
    assert "b/4.png" in line


def test_a_class_only_in_test(hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images" / "train", {"a": 4, "b": 4})
    write_classes(tmp_path / "images" / "test", {"a": 2, "b": 2, "late": 2})
    assert "'late'" in refusal(hdx(*folder(tmp_path / "images")))


def test_a_class_without_test_images_and_one_test_image_in_all(hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images" / "train", {"a": 4, "b": 4, "c": 4, "d": 4})
    write_classes(tmp_path / "images" / "test", {"b": 1})
    words = (*folder(tmp_path / "images"), "protocol.step=2", "protocol.order_seed=3")
    record = result(hdx(*words))
    assert record["sessions"][-1]["n_test"] == 1
    groups = [session["new_classes"] for session in record["sessions"]]
    matrix = record["sessions"][-1]["acc_by_session"]
    assert [value is None for value in matrix] == ["b" not in group for group in groups]
    assert record["metrics"]["acc_last"] in (0.0, 1.0)
    code, out, err = hdx(*words, options=())  # the table of what is not defined
    assert code == 0 and "-" in out, err
    text = hdx(*words, "seed=1", options=())
    assert text[0] == 0, text[2]


def test_what_is_left_out_is_in_the_record(hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images" / "train", {"a": 4, "b": 4})
    (tmp_path / "images" / "train" / "notes.txt").write_text("no image")
    write_classes(tmp_path / "images", {"test": 3})
    record = result(hdx(*folder(tmp_path / "images"), "protocol.first=1", "protocol.step=1"))
    assert record["data"] == {"left_out": {"files that are no images to Pillow": 1, "images without labels in test/": 3}}


def test_grey_pictures(hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images", {"dark": 10, "mid": 10, "light": 10, "white": 10}, grey=True)
    record = result(hdx(*folder(tmp_path / "images"), "protocol.step=2", "head.ridge=1e-4"))
    assert record["metrics"]["acc_last"] > 0.7


def test_a_zip_with_weird_names(hdx: Hdx, tmp_path: Path) -> None:
    names = ["ärger mit ümlaut", "猫 と 犬", "with 'quotes' and = signs", "[brackets] {braces} $x", "trailing dot."]
    path = write_zip(tmp_path / "büld er [1].zip", dict.fromkeys(names, 8))
    code, out, err = hdx("dataset=folder", f"dataset.path='{path}'", "dataset.image_size=16", "protocol.step=2")
    record = result((code, out, err))
    assert sorted(name for session in record["sessions"] for name in session["new_classes"]) == sorted(names)
    assert set(record["sessions"][-1]["acc_per_class"]) == set(names)
    assert Path(record["run_dir"], "sessions", "02.json").exists()


@pytest.mark.parametrize("head", ["lda", "ncm", "ncm_cosine", "linear"])
def test_one_training_image_a_class(head: str, hdx: Hdx, tmp_path: Path) -> None:
    write_classes(tmp_path / "images" / "train", {"a": 1, "b": 1, "c": 1})
    write_classes(tmp_path / "images" / "test", {"a": 2, "b": 2, "c": 2})
    words = (*folder(tmp_path / "images"), "protocol.first=1", "protocol.step=1", f"head={head}")
    record = result(hdx(*words))
    assert [session["n_train"] for session in record["sessions"]] == [1, 1, 1]
    assert record["sessions"][0]["acc"] == 1.0  # one class is all there is
    assert record["metrics"]["gain_predictor"] is None  # no pairs of one image
    code, out, err = hdx(*words, options=())
    assert code == 0 and "gain predictor -" in out, err


@pytest.mark.parametrize("options", [("head.ridge=0",), ("head.covariance=within", "head.ridge=0"), ("head.prior=empirical",)])
def test_lda_with_fewer_samples_than_features(options: tuple[str, ...], hdx: Hdx) -> None:
    record = result(hdx("protocol.shots=1", *options))
    assert record["metrics"]["acc_last"] is not None and record["sessions"][0]["n_train"] == 2


@pytest.mark.parametrize("exp", ["fsa_film", "fsa_full", "finetune"])
def test_training_on_one_image(exp: str, hdx: Hdx) -> None:
    words = ("protocol.first=1", "protocol.step=9", "protocol.shots=1", "trainer.epochs=1")
    assert [session["n_train"] for session in result(hdx(*words, exp=exp))["sessions"]] == [1, 9]


def test_more_than_there_is(hdx: Hdx) -> None:
    assert "10 classes, got 11" in refusal(hdx("protocol.first=11"))
    assert "protocol.shots" in refusal(hdx("protocol.shots=100000"))


def test_no_such_data(hdx: Hdx, tmp_path: Path) -> None:
    assert str(tmp_path / "nowhere") in refusal(hdx(*folder(tmp_path / "nowhere")))
    (tmp_path / "no.zip").write_text("not a zip")
    assert "no.zip" in refusal(hdx(*folder(tmp_path / "no.zip")))


def test_a_missing_checkpoint_of_the_backbone(hdx: Hdx, tmp_path: Path) -> None:
    assert "w.safetensors" in refusal(hdx(f"backbone.checkpoint={tmp_path / 'w.safetensors'}"))
