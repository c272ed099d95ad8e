"""Each method on real digits: it learns, and stands where its claim says it stands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.integration.harness import run_dir_of

Record = Callable[..., dict[str, Any]]
CHANCE = 0.1
TRAINED = ("protocol.shots=40", "trainer.epochs=10")
SMALL = ("backbone.image_size=16", *TRAINED)  # a quarter of the work, where no body has to be a good one


def last(record: dict[str, Any]) -> float:
    return record["metrics"]["acc_last"]


@pytest.mark.parametrize("exp", ["fsa_na", "ncm_frozen"])
def test_statistics_heads_are_far_above_chance(exp: str, record: Record) -> None:
    found = record(f"+exp={exp}")
    assert last(found) > 3 * CHANCE
    assert found["trainable_parameters"] == 0 and found["images_trained"] == 0


@pytest.mark.slow
def test_finetune_forgets_more_and_ends_lower_than_a_frozen_body(record: Record) -> None:
    finetune, frozen, film = (
        record("+exp=finetune", *SMALL),
        record("+exp=fsa_na", *SMALL[:2]),
        record("+exp=fsa_film", *SMALL),
    )
    assert finetune["metrics"]["forgetting"] > frozen["metrics"]["forgetting"] + 0.2
    assert last(finetune) < min(last(frozen), last(film)) - 0.1
    matrix = [session["acc_by_session"] for session in finetune["sessions"]]
    assert matrix[-1][-1] > 0.7  # it does learn the classes of the last session …
    assert max(matrix[-1][:-1]) < 0.3  # … and loses all others


@pytest.mark.slow
def test_joint_is_the_ceiling(record: Record) -> None:
    joint, full = record("+exp=joint", *SMALL), record("+exp=fsa_full", *SMALL)
    assert last(joint) > last(full) + 0.05
    assert last(joint) > 0.85
    assert joint["sessions"][0]["images_trained"] == 10 * 400 and joint["images_trained"] == 10 * 400


def test_first_session_trains_once_and_only_the_adapter(record: Record) -> None:
    found = record("+exp=fsa_film", *SMALL)
    assert [session["images_trained"] for session in found["sessions"]] == [10 * 80, 0, 0, 0, 0]
    assert found["trainable_parameters"] == 2 * (
        32 + 3 * 32 - 32 + 3 * (64 + 128 + 192)
    )  # scale and shift per channel of each norm
    assert found["sessions"][0]["loss"] > 0 and all(session["loss"] is None for session in found["sessions"][1:])


def test_adaptation_helps_an_untrained_body(record: Record) -> None:
    film, frozen = record("+exp=fsa_film", *TRAINED), record("+exp=fsa_na", TRAINED[0])
    assert film["metrics"]["acc_avg_inc"] > frozen["metrics"]["acc_avg_inc"]


@pytest.mark.parametrize("head", ["linear", "cosine"])
@pytest.mark.parametrize("method", ["frozen", "first_session", "finetune", "joint"])
def test_gradient_heads_learn_offline(head: str, method: str, record: Record) -> None:
    adapter = "none" if method == "frozen" else "film"
    parts = (f"head={head}", f"method={method}", f"adapter={adapter}", "protocol=offline", "protocol.shots=20")
    found = record(*parts, "backbone.pretrained=true", "trainer.epochs=3", "trainer.feature_epochs=30")
    assert last(found) > 4 * CHANCE
    assert found["metrics"]["forgetting"] is None and len(found["sessions"]) == 1
    assert found["sessions"][0]["classes_seen"] == 10 and found["sessions"][0]["n_train"] == 200
    assert found["head_parameters"] == (1930 if head == "linear" else 1920)


def test_a_linear_head_on_a_frozen_body_forgets_old_classes_and_lda_does_not(record: Record) -> None:
    linear = record("head=linear", "method=frozen", "trainer.lr=0.05", "trainer.feature_epochs=30")
    lda = record("+exp=fsa_na")
    assert linear["metrics"]["forgetting"] > lda["metrics"]["forgetting"] + 0.2


def test_an_offline_run_sees_every_class_at_once(record: Record) -> None:
    found = record("protocol=offline")
    session = run_dir_of(found).session_records()[0]
    assert session["n_train"] == 1258 and session["n_test"] == 539
    assert sorted(session["acc_per_class"]) == [str(digit) for digit in range(10)]
