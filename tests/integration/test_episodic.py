"""Runs on episodes: bounded batches, ranks and resuming change nothing; what they leave behind; what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hdx.errors import ConfigError, WeightsError
from hdx.metrics.episodes import episode_accuracy
from tests.integration.harness import arrays_of, config_of, run_dir_of, train

EPISODES = ("protocol=episodic", "protocol.episodes=60", "protocol.ways=3", "protocol.base=5", "head=ncm")


def test_the_record_holds_every_episode(tmp_path: Path) -> None:
    record = train(tmp_path, *EPISODES)
    stored = arrays_of(record)[0]
    each = np.array(record["episodes"]["acc"])
    np.testing.assert_array_equal(each, episode_accuracy(stored["prediction"], stored["label"]))
    assert record["metrics"]["acc"] == pytest.approx(each.mean())
    half = 2.0010 * each.std(ddof=1) / np.sqrt(60)  # Student's t at 59 degrees
    assert record["metrics"]["acc_ci95"] == pytest.approx(half, rel=1e-4)
    assert stored["classes"].shape == (60, 3) and stored["label"].shape == (60, 45)
    assert record["images_trained"] == 0


def test_heads_see_the_same_episodes(tmp_path: Path) -> None:
    ncm, lda = train(tmp_path, *EPISODES), train(tmp_path, *EPISODES[:-1], "head=lda", "head.ridge=1e-6")
    for name in ("classes", "label"):
        np.testing.assert_array_equal(arrays_of(ncm)[0][name], arrays_of(lda)[0][name])
    assert lda["images_forwarded"] == 0  # the features are in the bank
    assert (arrays_of(ncm)[0]["prediction"] != arrays_of(lda)[0]["prediction"]).any()


def test_the_size_of_batches_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    large = train(tmp_path / "a", *EPISODES)
    monkeypatch.setattr("hdx.engine.episodes.CACHED", 1)  # every episode alone
    small = train(tmp_path / "b", *EPISODES)
    np.testing.assert_array_equal(arrays_of(large)[0]["prediction"], arrays_of(small)[0]["prediction"])


def test_joint_scoring_is_harder_and_keeps_the_disjoint_score(tmp_path: Path) -> None:
    plain, joint = train(tmp_path, *EPISODES), train(tmp_path, *EPISODES, "protocol.joint=true")
    assert joint["episodes"]["acc"] == plain["episodes"]["acc"]
    assert joint["metrics"]["acc_joint"] < joint["metrics"]["acc"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("protocol.ways=6",), "6"),
        (("protocol.shots=400",), "400"),
        (("protocol.ways=1",), "ways"),
        (("protocol.joint=true", "head=lda"), "joint"),
    ],
)
def test_what_cannot_be_is_refused_before_any_work(words: tuple[str, ...], message: str, tmp_path: Path) -> None:
    given = {word.partition("=")[0] for word in words}
    rest = [word for word in EPISODES if word.partition("=")[0] not in given]
    with pytest.raises(ConfigError, match=message):
        train(tmp_path, *rest, *words)
    assert not (tmp_path / "bank").exists()


def test_the_trained_body_serves_other_episodes_and_can_be_exported(tmp_path: Path) -> None:
    from hdx.engine.export_model import export_model
    from hdx.engine.predict import Model

    adapt = ("method=first_session", "adapter=film", "trainer.epochs=1")
    first = train(tmp_path, *EPISODES, *adapt)
    other = train(tmp_path, *EPISODES[:2], *EPISODES[3:], "protocol.ways=4", *adapt)
    assert first["images_trained"] > 0 and other["images_trained"] == 0
    file = tmp_path / "body.safetensors"
    about = export_model(config_of(tmp_path, *EPISODES, *adapt), run_dir_of(first), file)
    assert about["head"] is None
    with pytest.raises(WeightsError, match="backbone.checkpoint"):
        import torch

        Model(file, torch.device("cpu"))
    again = train(tmp_path, *EPISODES, f"backbone.checkpoint={file}")
    assert again["metrics"]["acc"] == pytest.approx(first["metrics"]["acc"], abs=0.02)  # merging FiLM rounds


def test_a_classifier_for_each_episode_trains_on_cached_features(tmp_path: Path) -> None:
    tuned = (*EPISODES[:-1], "head=cosine", "method=per_episode", "method.steps=5")
    first = train(tmp_path, *tuned)
    again = train(tmp_path, *tuned, "method.steps=6")
    assert first["images_forwarded"] > 0 and again["images_forwarded"] == 0
    adapted = train(tmp_path, *tuned, "adapter=film", "protocol.episodes=4")
    assert adapted["images_trained"] == 4 * 3 * 5  # support images of 4 episodes, five steps
