"""A protocol scores by a pure function of what a run has stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from hdx.protocols.offline import Offline
from tests.integration.harness import arrays_of, train


def test_a_run_has_the_metrics_that_its_protocol_computes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def score(self: Offline, stored: list[dict[str, np.ndarray]]) -> dict[str, float | None]:
        (only,) = stored
        return {"acc_last": float((only["prediction"] == only["label"]).mean()), "sure": float((only["confidence"] > 0.5).mean())}

    words = ("protocol=offline", "method=frozen", "head=ncm", "protocol.shots=3")
    plain = train(tmp_path / "a", *words)
    monkeypatch.setattr(Offline, "score", score)
    own = train(tmp_path / "b", *words)
    assert set(own["metrics"]) == {"acc_last", "sure", "gain_predictor"}
    assert own["metrics"]["acc_last"] == plain["metrics"]["acc_last"]
    assert own["metrics"]["sure"] == float((arrays_of(own)[0]["confidence"] > 0.5).mean())
