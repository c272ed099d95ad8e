"""What a run costs is no accident of the order: what others had done for it is recorded, and costs are compared as if alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from hdx.cli._summary import summary
from hdx.report import metrics
from hdx.store.alone import alone, shares
from hdx.store.index import Index
from hdx.store.sides import compare, find_side
from tests.integration.harness import interrupted, run_dir_of, train

FROZEN = ("+exp=fsa_na", "protocol.shots=3")
TRAINED = ("+exp=fsa_film", "protocol.shots=3", "trainer.epochs=1", "protocol.step=5")


def test_features_that_another_run_extracted(tmp_path: Path) -> None:
    first, second = train(tmp_path, *FROZEN, "head=lda"), train(tmp_path, *FROZEN, "head=ncm")
    assert (first["images_forwarded"], second["images_forwarded"]) == (569, 0)
    assert first["shared"] == {"images_forwarded": 0, "images_trained": 0, "seconds": 0.0} and shares(first) is False
    assert second["shared"]["images_forwarded"] == 569 and second["shared"]["seconds"] > 0 and shares(second) is True
    assert [alone(record)["images_forwarded"] for record in (first, second)] == [569, 569]
    assert metrics.find("seconds_alone").of(second) == pytest.approx(second["seconds"]["wall"] + second["shared"]["seconds"])
    assert any("done by other runs: 569 images forwarded, 0 trained" in line for line in summary(second))
    rows = Index(tmp_path).refresh().runs()
    found = compare(*(find_side(rows, record["run_id"]) for record in (first, second)))
    costs = {entry["metric"]: entry for entry in found["costs"]}
    assert costs["images_forwarded"]["difference"]["mean"] == 0.0
    assert costs["images_forwarded"]["spent"]["b"]["mean"] == 0.0
    assert costs["seconds"]["b"]["mean"] == pytest.approx(alone(second)["seconds"])
    assert [entry["p"] for entry in costs.values()] == [None] * 4


def test_a_body_that_another_run_trained(tmp_path: Path) -> None:
    first, second = train(tmp_path, *TRAINED, "head=lda"), train(tmp_path, *TRAINED, "head=ncm")
    assert first["images_trained"] == 15 and second["images_trained"] == 0
    assert second["shared"]["images_trained"] == 15 and second["shared"]["seconds"] > 0
    assert alone(second)["images_trained"] == alone(first)["images_trained"]
    assert alone(second)["images_forwarded"] == alone(first)["images_forwarded"]


def test_what_an_earlier_attempt_did_is_no_gift(tmp_path: Path) -> None:
    whole = train(tmp_path / "a", *FROZEN)
    interrupted(tmp_path / "b", *FROZEN, after=2)
    resumed = train(tmp_path / "b", *FROZEN)
    assert resumed["shared"]["images_forwarded"] == 0
    assert alone(resumed)["images_forwarded"] == alone(whole)["images_forwarded"] == resumed["images_forwarded"]


def test_runs_of_before_say_that_it_is_not_known(tmp_path: Path) -> None:
    record = train(tmp_path, *FROZEN)
    old = {key: value for key, value in record.items() if key != "shared"}
    assert shares(old) is None and set(alone(old).values()) == {None}
    assert metrics.find("seconds_alone").of(old) is None and run_dir_of(record).finished


def test_two_runs_on_episodes_are_compared_over_their_episodes(tmp_path: Path) -> None:
    words = ("protocol=episodic", "protocol.ways=3", "protocol.episodes=40", "method=frozen", "adapter=none")
    a, b = train(tmp_path, *words, "head=ncm"), train(tmp_path, *words, "head=simpleshot")
    other = train(tmp_path, *words, "head=ncm", "seed=1")
    rows = Index(tmp_path).refresh().runs()
    sides = [find_side(rows, record["run_id"]) for record in (a, b, other)]
    (acc,) = compare(*sides[:2])["metrics"]
    differences = [right - left for left, right in zip(a["episodes"]["acc"], b["episodes"]["acc"])]
    assert (acc["metric"], acc["over"], acc["paired"], acc["difference"]["n"]) == ("acc", "episodes", True, 40)
    assert acc["difference"]["mean"] == pytest.approx(sum(differences) / 40) and 0 <= acc["p"] <= 1
    assert acc["a"]["n"] == 40 and acc["a"]["half"] == pytest.approx(a["metrics"]["acc_ci95"])
    (acc,) = compare(sides[0], sides[2])["metrics"]  # other episodes
    assert (acc["over"], acc["paired"], acc["p"]) == ("seeds", False, None)
