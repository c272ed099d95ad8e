"""`hdx train … --dry-run`: what it says beforehand is what happens afterwards, and nothing is written."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.integration.harness import config_words, interrupted, train

from hdx.store.rundir import RunDir

Inside = Callable[..., tuple[int, str, str]]
SMALL = ("protocol=offline", "protocol.shots=5", "dataset=digits")
FROZEN = (*SMALL, "method=frozen", "head=ncm")
TRAINED = (*SMALL, "method=first_session", "adapter=bn", "head=ncm", "trainer.epochs=1")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("outputs")


@pytest.fixture
def foreseen(inside: Inside, outputs: Path) -> Callable[..., dict[str, Any]]:
    def ask(*words: str) -> dict[str, Any]:
        overrides = [word for word in words if not word.startswith("--")]
        options = [word for word in words if word.startswith("--")]
        code, out, err = inside("train", *config_words(outputs, *overrides), "--dry-run", "--json", *options)
        assert (code, err) == (0, "")
        found: dict[str, Any] = json.loads(out)
        return found

    return ask


def test_nothing_was_run_yet(inside: Inside, tmp_path: Path) -> None:
    code, out, _ = inside("train", *config_words(tmp_path / "out", *FROZEN), "--dry-run")
    lines = out.splitlines()
    assert code == 0 and lines[0].endswith(": not begun; hdx train begins it")
    assert "  head=ncm" in lines and "  protocol.shots=5" in lines and "  backbone.pretrained=false" in lines
    assert "time    unknown: no run of this group or this body is finished, so that none was measured" in lines
    assert not (tmp_path / "out").exists()


def test_a_finished_run_and_its_neighbours(foreseen: Callable[..., dict[str, Any]], outputs: Path) -> None:
    before = foreseen(*FROZEN)
    assert (before["state"], before["does"], before["shares"], before["seconds"]) == ("new", "begin", [], None)
    record = train(outputs, *FROZEN)
    after = foreseen(*FROZEN)
    assert (after["run_id"], after["run_dir"]) == (record["run_id"], record["run_dir"]) == (before["run_id"], before["run_dir"])
    assert (after["state"], after["does"]) == ("finished", "print")
    assert foreseen(*FROZEN, "--force")["does"] == "start over"
    other_head = foreseen(*SMALL, "method=frozen", "head=lda")
    assert other_head["shares"] == [f"features that run {record['run_id']} extracted"]
    assert (other_head["sessions"], other_head["seconds"]) == (1, record["seconds"]["wall"])
    assert other_head["seconds_from"] == "measured once, of runs of this body and protocol"
    other_size = foreseen(*FROZEN, "backbone.image_size=16")
    assert (other_size["shares"], other_size["seconds"]) == ([], None)
    other_protocol = foreseen("method=frozen", "head=ncm", "dataset=digits")
    assert (other_protocol["sessions"], other_protocol["seconds_from"]) == (None, "measured once, of runs of this body")


def test_a_trained_body_is_found_without_torch(foreseen: Callable[..., dict[str, Any]], outputs: Path) -> None:
    record = train(outputs, *TRAINED)
    other = foreseen(*TRAINED[:-2], "head=lda", "trainer.epochs=1")
    assert other["shares"][0] == f"the body that run {record['run_id']} trained"
    assert record["images_trained"] > 0
    assert train(outputs, *TRAINED[:-2], "head=lda", "trainer.epochs=1")["images_trained"] == 0  # as was said


def test_an_interrupted_run(foreseen: Callable[..., dict[str, Any]], inside: Inside, outputs: Path) -> None:
    words = ("method=frozen", "head=ncm", "dataset=digits", "seed=3")
    run_dir = interrupted(outputs, *words, after=2)
    found = foreseen(*words)
    assert (found["run_dir"], found["state"], found["does"], found["sessions_done"]) == (
        str(run_dir.path),
        "interrupted",
        "go on",
        2,
    )
    code, out, _ = inside("train", *config_words(outputs, *words), "--dry-run")
    assert code == 0 and ": interrupted; hdx train goes on with session 3" in out
    assert RunDir(run_dir.path).status()["state"] == "interrupted"


def test_a_failed_run_is_refused_as_the_run_would_be(inside: Inside, tmp_path: Path) -> None:
    words = config_words(tmp_path, *FROZEN)
    found = json.loads(inside("train", *words, "--dry-run", "--json")[1])
    RunDir(Path(found["run_dir"])).set_status("failed", reason="out of memory")
    code, _, err = inside("train", *words, "--dry-run")
    assert code == 2 and "failed before: out of memory; --retry-failed goes on" in err
    assert json.loads(inside("train", *words, "--dry-run", "--json", "--retry-failed")[1])["does"] == "go on"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["dataset=folder", "dataset.path=/nope"], "hdx: dataset folder: dataset.path=/nope does not exist"),
        (["devices=99"], "hdx: devices: expected at most "),
        (["head=lad"], "hdx: head 'lad' is unknown. Did you mean 'lda'?"),
        ([f"seed={2**63}"], "hdx: seed: expected an int in [0, 2^63)"),
    ],
)
def test_checks_are_those_of_the_run(
    words: list[str], line: str, inside: Inside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HDX_OVERSUBSCRIBE", raising=False)
    code, out, err = inside("train", *words, "--dry-run")
    assert (code, out) == (2, "") and err.startswith(line)
    assert list(tmp_path.iterdir()) == []
