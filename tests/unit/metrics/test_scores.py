"""The metrics of a run are a function of its stored predictions, and a protocol may have its own."""

from __future__ import annotations

import numpy as np
import pytest

from hdx.metrics.scores import scores
from hdx.protocols.offline import Offline


def stored(predictions: list[int], labels: list[int], came: list[int]) -> dict[str, np.ndarray]:
    n = len(labels)
    return {
        "label": np.array(labels),
        "prediction": np.array(predictions),
        "session_of_label": np.array(came),
        "log_p_label": np.log(np.full(n, 0.5)),
        "confidence": np.full(n, 0.5),
    }


def test_two_sessions() -> None:
    first = stored([0, 1, 1, 1], [0, 1, 0, 1], [0, 0, 0, 0])
    last = stored([0, 2, 0, 1, 2, 3], [0, 0, 0, 1, 2, 2], [0, 0, 0, 0, 1, 1])
    found = scores([first, last])
    assert found["acc_last"] == pytest.approx(4 / 6) and found["acc_avg_inc"] == pytest.approx((3 / 4 + 4 / 6) / 2)
    assert (found["acc_base"], found["acc_novel"]) == (pytest.approx(3 / 4), pytest.approx(1 / 2))
    assert found["acc_harmonic"] == pytest.approx(2 * 0.75 * 0.5 / 1.25)
    assert found["forgetting"] == pytest.approx(0.0) and found["nll_last"] == pytest.approx(np.log(2))
    assert found["ece_last"] == pytest.approx(4 / 6 - 0.5)


def test_one_session_has_no_base_and_novel() -> None:
    one = [stored([0, 1], [0, 0], [0, 0])]
    assert "acc_base" not in scores(one) and scores(one)["acc_last"] == 0.5
    assert Offline().score(one) == scores(one)
