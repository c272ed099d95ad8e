"""Runs on episodes that are stopped among them: what was judged is kept, and how far they are is told."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hdx.engine import stop
from hdx.engine.kept_episodes import KeptEpisodes
from hdx.engine.launch import launch
from hdx.engine.report import Report
from hdx.errors import Interrupted
from tests.integration.harness import arrays_of, config_of, place, train

PER_EPISODE = (
    *("method=per_episode", "adapter=bn", "head=ncm", "protocol=episodic", "protocol.ways=3", "protocol.episodes=12"),
    *("protocol.queries=3", "method.steps=2", "backbone=conv4", "backbone.width=8", "protocol.memory_mb=1"),
)


class Heard(Report):
    def __init__(self, stops_at: int = 0) -> None:
        self.states: list[dict[str, Any]] = []
        self.stops_at = stops_at

    def progress(self, state: dict[str, Any]) -> None:
        self.states.append(dict(state))
        if state["step"] == self.stops_at:
            stop.ask()


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdx.engine.kept_episodes.REPORT_S", 0.0)
    monkeypatch.setattr("hdx.engine.episodes.EpisodeLoop._adapted_at_once", lambda *_: 4)


def test_what_was_judged_is_not_judged_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(tmp_path / "a", *PER_EPISODE)
    config, heard = config_of(tmp_path / "b", *PER_EPISODE), Heard(stops_at=8)
    with pytest.raises(Interrupted):
        launch(config, place(config), heard, io.StringIO())
    assert [(state["step"], state["steps"], state["work"]) for state in heard.states] == [
        (4, 12, "episodes"),
        (8, 12, "episodes"),
    ]
    assert [file.name for file in place(config).checkpoints.glob("episodes-*")] == ["episodes-0.npz"]
    judged: list[int] = []
    kind = "hdx.methods.per_episode.PerEpisode.classify_episodes"
    from hdx.methods.per_episode import PerEpisode

    classify = PerEpisode.classify_episodes

    def counting(self: Any, support: Any, *rest: Any) -> Any:
        judged.append(len(support))
        return classify(self, support, *rest)

    monkeypatch.setattr(kind, counting)
    again = launch(config, place(config), Report(), io.StringIO())
    assert judged == [4]
    assert (again["metrics"], again["images_trained"]) == (whole["metrics"], whole["images_trained"])
    for ours, theirs in zip(arrays_of(again), arrays_of(whole)):
        assert all(np.array_equal(ours[name], theirs[name]) for name in ours)
    assert list(place(config).checkpoints.glob("episodes-*")) == []


def test_damaged_files_and_those_of_another_body_are_no_use(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = KeptEpisodes(tmp_path, "body", 6, 1e9, lambda state: None)
    kept.keep(np.array([0, 3]), {"prediction": np.array([[1, 2], [0, 0]])}, 10)
    kept.save()
    again = KeptEpisodes(tmp_path, "body", 6, 1e9, lambda state: None)
    found = again.take(np.array([3, 0]), ["prediction"], 2)
    assert found is not None and found[0].tolist() == [[0, 0], [1, 2]] and again.trained_before == 10
    assert again.take(np.array([0, 1]), ["prediction"], 2) is None
    assert KeptEpisodes(tmp_path, "other", 6, 1e9, lambda state: None).take(np.array([0]), ["prediction"], 2) is None
    assert KeptEpisodes(tmp_path, "body", 7, 1e9, lambda state: None).take(np.array([0]), ["prediction"], 2) is None
    assert "7" in caplog.text
    (tmp_path / "episodes-0.npz").write_bytes(b"not")
    assert KeptEpisodes(tmp_path, "body", 6, 1e9, lambda state: None).take(np.array([0]), ["prediction"], 2) is None
