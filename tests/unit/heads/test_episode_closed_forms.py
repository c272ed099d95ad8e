"""The batched `classify` of the statistics heads is a fresh head for each episode."""

from __future__ import annotations

import pytest
import torch
from tests.clusters import clusters
from torch import Tensor

from hdx.heads._statistics import StatisticsHead
from hdx.heads.lda import LDA
from hdx.heads.ncm import NCM
from hdx.heads.ridge import Ridge

HEADS = {
    "ncm": lambda d: NCM(d),
    "ncm_cosine": lambda d: NCM(d, metric="cosine"),
    "lda_total": lambda d: LDA(d),
    "lda_within": lambda d: LDA(d, covariance="within", ridge=0.1, prior="empirical"),
    "lda_no_ridge": lambda d: LDA(d, covariance="within", ridge=0.0),
    "lda_small_ridge": lambda d: LDA(d, ridge=1e-4, prior="empirical"),
    "ridge": lambda d: Ridge(d),
    "ridge_small": lambda d: Ridge(d, ridge=1e-4),
    "ridge_none": lambda d: Ridge(d, ridge=0.0),
}
SHAPES = {
    "5-way 5-shot": (torch.arange(25), 5),
    "unequal and unordered": (torch.tensor([24, 3, 0, 11, 20, 7, 8, 5, 1, 2, 16]), 5),
    "one-shot": (torch.tensor([0, 5, 10, 15, 20]), 5),
    "2-way": (torch.arange(10), 2),
    "one class": (torch.arange(3), 1),
}


def one_by_one(head: StatisticsHead, support: Tensor, labels: Tensor, query: Tensor, ways: int) -> Tensor:
    return StatisticsHead.classify(head, support, labels, query, ways)


@pytest.mark.parametrize("offset", [0.0, 30.0])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", HEADS)
def test_logits_of_a_fresh_head_per_episode(name: str, shape: str, offset: float) -> None:
    support, labels, query, _ = clusters(3)
    kept, ways = SHAPES[shape]
    head = HEADS[name](support.shape[2])
    episodes = support[:, kept] + offset, labels[:, kept], query + offset, ways
    ours, generic = head.classify(*episodes), one_by_one(head, *episodes)
    assert ours.shape == generic.shape == (3, 75, ways)
    tolerance = 1e-5 if name.startswith("ncm") else 1e-8
    torch.testing.assert_close(ours.double(), generic, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", HEADS)
def test_the_heads_own_classes_are_neither_used_nor_changed(name: str) -> None:
    support, labels, query, _ = clusters(2)
    head, fresh = HEADS[name](64), HEADS[name](64)
    head.expand(3)
    head.update(query[0], torch.arange(75) % 3)
    before = {key: value.clone() for key, value in head.state_dict().items()}
    assert torch.equal(head.classify(support, labels, query, 5), fresh.classify(support, labels, query, 5))
    assert all(torch.equal(value, before[key]) for key, value in head.state_dict().items())


def test_ncm_compares_base_and_episode_classes() -> None:
    """Joint scoring: the logit of a class is the same whether it came by `update` or in an episode's support."""
    support, labels, query, _ = clusters(1)
    for metric in ("euclidean", "cosine"):
        head = NCM(64, metric=metric)
        assert head.joint and not LDA.joint and not Ridge.joint
        head.expand(5)
        head.update(support[0], labels[0])
        torch.testing.assert_close(head(query[0]), head.classify(support, labels, query, 5)[0].double(), rtol=1e-5, atol=1e-5)
