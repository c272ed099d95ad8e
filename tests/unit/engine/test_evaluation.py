"""Evaluation: per-sample results against a float64 reference, the same on any number of ranks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax

from hdx.engine import evaluation, ranks
from hdx.heads.linear import Linear

CPU = torch.device("cpu")


@pytest.fixture
def head() -> Linear:
    torch.manual_seed(0)
    head = Linear(16)
    head.expand(9)
    return head


def data(n: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (n, 16)).astype(np.float32), rng.integers(0, 9, n)


def test_against_float64(head: Linear) -> None:
    features, labels = data(2500)
    found = evaluation.predict(head, features, labels, CPU)
    logits = head(torch.from_numpy(features)).detach().double().numpy()
    log_p = log_softmax(logits, 1)
    np.testing.assert_array_equal(found["prediction"], logits.argmax(1))
    np.testing.assert_allclose(found["log_p_label"], log_p[np.arange(2500), labels], atol=1e-5)
    np.testing.assert_allclose(found["confidence"], np.exp(log_p.max(1)), atol=1e-6)
    order = np.argsort(-logits, 1)
    expected_rank = np.array([list(row).index(label) for row, label in zip(order, labels)])
    np.testing.assert_array_equal(found["rank"], expected_rank)


@pytest.mark.parametrize("n", [1, 1023, 1025, 4097])
def test_ranks_add_up_to_one(n: int, head: Linear, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = data(n)
    alone = evaluation.predict(head, features, labels, CPU)
    parts: list[torch.Tensor] = []
    monkeypatch.setattr(ranks, "world", lambda: 3)
    monkeypatch.setattr(ranks, "all_sum", lambda value: (parts.append(value.clone()), value)[1])
    for rank in range(3):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        evaluation.predict(head, features, labels, CPU)
    total = torch.stack(parts).sum(0).numpy()
    np.testing.assert_array_equal(total[0].astype(int), alone["prediction"])
    np.testing.assert_array_equal(total[1], alone["log_p_label"])
