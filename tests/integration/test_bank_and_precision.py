"""What runs share and how they are computed: images forwarded, precision, storage."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.integration.harness import arrays_of, train

Record = Callable[..., dict[str, Any]]


def forwarded(record: dict[str, Any]) -> int:
    return record["images_forwarded"]


def test_each_distinct_image_once_and_never_again(tmp_path: Path) -> None:
    first = train(tmp_path, "+exp=fsa_na")
    assert forwarded(first) == 1258 + 539
    for words in (
        ("head=ncm",),
        ("head=linear", "trainer.feature_epochs=1"),
        ("protocol.order_seed=3",),
        ("protocol.shots=5",),
        ("protocol=offline",),
    ):
        assert forwarded(train(tmp_path, "+exp=fsa_na", *words)) == 0
    assert forwarded(train(tmp_path, "+exp=fsa_na", "precision=bf16-mixed")) == 1797  # another body state


def test_few_shots_forward_few_images(tmp_path: Path) -> None:
    assert forwarded(train(tmp_path, "+exp=fsa_na", "protocol.shots=3")) == 30 + 539
    assert forwarded(train(tmp_path, "+exp=fsa_na", "protocol.shots=5")) == 20


def test_an_adapted_body_sees_everything_once_more_and_the_predictor_only_its_session(tmp_path: Path) -> None:
    film = train(tmp_path, "+exp=fsa_film", "protocol.shots=4", "trainer.epochs=1")
    assert forwarded(film) == 8 + 40 + 539
    assert sum(session["images_forwarded"] for session in film["sessions"]) == 40 + 539


def test_a_body_that_changes_each_session_forwards_what_each_session_needs(tmp_path: Path) -> None:
    record = train(tmp_path, "+exp=finetune", "adapter=film", "head=ncm", "protocol.shots=4", "trainer.epochs=1")
    assert [s["images_forwarded"] for s in record["sessions"]] == [8 + s["n_test"] for s in record["sessions"]]


@pytest.mark.parametrize("asked", ["bf16-mixed", "16-mixed"])
def test_mixed_precision_is_recorded_as_it_was(asked: str, record: Record, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "hdx"):
        mixed = record("+exp=fsa_film", f"precision={asked}", "protocol.shots=20", "trainer.epochs=4")
    full = record("+exp=fsa_film", "protocol.shots=20", "trainer.epochs=4")
    assert (full["precision"], mixed["precision"]) == ("32", "bf16-mixed")
    assert ("precision=16-mixed is not available on a CPU" in caplog.text) == (asked == "16-mixed")
    assert mixed["run_id"] != full["run_id"]
    assert mixed["metrics"]["acc_last"] == pytest.approx(full["metrics"]["acc_last"], abs=0.1)
    assert any((a["log_p_label"] != b["log_p_label"]).any() for a, b in zip(arrays_of(mixed), arrays_of(full)))


def test_a_float16_bank_gives_nearly_the_same_numbers(record: Record, shared: Path) -> None:
    half, full = record("+exp=fsa_na", "feature_dtype=float16"), record("+exp=fsa_na")
    assert half["metrics"]["acc_last"] == pytest.approx(full["metrics"]["acc_last"], abs=0.01)
    for a, b in zip(arrays_of(half), arrays_of(full)):
        np.testing.assert_allclose(a["log_p_label"], b["log_p_label"], atol=0.02)
    assert {path.name.rsplit("-", 1)[1] for path in (shared / "bank").glob("*/*")} >= {"float16", "float32"}
