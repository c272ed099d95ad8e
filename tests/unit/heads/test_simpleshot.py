"""SimpleShot: what its options do to the features and to the decision."""

from __future__ import annotations

import torch
from tests.clusters import clusters
from torch.nn import functional as F

from hdx.heads.ncm import NCM
from hdx.heads.simpleshot import SimpleShot


def test_un_is_ncm():
    s, y, q, _ = clusters(2)
    un = SimpleShot(64, normalise=False, metric="euclidean")
    assert torch.equal(un.classify(s, y, q, 5), NCM(64).classify(s, y, q, 5))


def test_cl2n_is_l2n_of_centred_features():
    s, y, q, _ = clusters(2)
    head = SimpleShot(64, centre="base", metric="euclidean")
    head.base_mean.copy_(torch.linspace(-1, 1, 64))
    plain = SimpleShot(64, metric="euclidean")
    assert torch.equal(head.classify(s, y, q, 5), plain.classify(s - head.base_mean, y, q - head.base_mean, 5))
    assert not torch.equal(head.classify(s, y, q, 5), plain.classify(s, y, q, 5))
    assert head.centres_on_base and not plain.centres_on_base


def test_a_base_mean_that_was_not_asked_for_is_not_subtracted():
    s, y, q, _ = clusters(2)
    head, plain = SimpleShot(64), SimpleShot(64)
    head.base_mean.fill_(1.0)
    assert torch.equal(head.classify(s, y, q, 5), plain.classify(s, y, q, 5))


def test_metrics_differ_where_class_means_differ_in_length():
    """Class 0's samples agree and its mean is long; class 1's disagree, and a Euclidean distance prefers the short mean."""
    support = torch.tensor([[[1.0, 0.1, 0.0], [1.0, -0.1, 0.0], [0.0, 1.0, 0.5], [0.0, -1.0, 0.5]]])
    labels, query = torch.tensor([[0, 0, 1, 1]]), torch.tensor([[[0.6, 0.6, 0.5], [0.0, 0.0, 2.0]]])
    cosine = SimpleShot(3).classify(support, labels, query, 2)
    euclidean = SimpleShot(3, metric="euclidean").classify(support, labels, query, 2)
    expected = F.normalize(query[0], dim=1)[:, [0, 2]]  # the means point along the first and the last axis
    torch.testing.assert_close(cosine[0], expected)
    assert cosine.argmax(2).tolist() == [[0, 1]] and euclidean.argmax(2).tolist() == [[1, 1]]
