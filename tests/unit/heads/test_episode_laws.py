"""Laws of heads that judge episodes from class means: order of samples and classes, batches, odd shapes."""

from __future__ import annotations

import pytest
import torch
from tests.clusters import clusters

from hdx.heads.bd_cspn import BDCSPN
from hdx.heads.laplacian_shot import LaplacianShot
from hdx.heads.lda import LDA
from hdx.heads.ncm import NCM
from hdx.heads.ridge import Ridge
from hdx.heads.simpleshot import SimpleShot

HEADS = {
    "ncm": NCM(64),
    "ncm_cosine": NCM(64, metric="cosine"),
    "lda": LDA(64, prior="empirical"),
    "lda_within": LDA(64, covariance="within"),
    "ridge": Ridge(64),
    "simpleshot": SimpleShot(64),
    "simpleshot_euclidean": SimpleShot(64, metric="euclidean"),
    "bd_cspn": BDCSPN(64),
    "laplacian_shot": LaplacianShot(64),
}
every_head = pytest.mark.parametrize("head", HEADS.values(), ids=HEADS.keys())


def check_same(a: torch.Tensor, b: torch.Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@every_head
def test_an_episode_does_not_depend_on_its_batch(head):
    s, y, q, _ = clusters(6)
    alone = [head.classify(s[e : e + 1], y[e : e + 1], q[e : e + 1], 5) for e in range(6)]
    check_same(head.classify(s, y, q, 5), torch.cat(alone))


@every_head
def test_order_of_queries_support_and_classes(head):
    s, y, q, _ = clusters(3, seed=1)
    before = head.classify(s, y, q, 5)
    generator = torch.Generator().manual_seed(0)
    queries, supports = torch.randperm(75, generator=generator), torch.randperm(25, generator=generator)
    check_same(head.classify(s[:, supports], y[:, supports], q[:, queries], 5), before[:, queries])
    renamed = torch.tensor([3, 0, 4, 1, 2])
    check_same(head.classify(s, renamed[y], q, 5)[..., renamed], before)


@every_head
@pytest.mark.parametrize("shape", [{"ways": 2}, {"queries": 1}, {"shots": 1}, {"ways": 2, "shots": 1, "queries": 1}], ids=str)
def test_small_shapes(head, shape):
    s, y, q, truth = clusters(4, **{"signal": 3.0, **shape})
    ways = shape.get("ways", 5)
    found = head.classify(s, y, q, ways)
    assert found.shape == (*q.shape[:2], ways) and torch.isfinite(found).all()
    assert (found.argmax(2) == truth).double().mean() > 0.9


@every_head
def test_inputs_unchanged_and_inference_mode(head):
    s, y, q, _ = clusters(2)
    copies = s.clone(), q.clone()
    before = head.classify(s, y, q, 5)
    assert torch.equal(s, copies[0]) and torch.equal(q, copies[1])
    with torch.inference_mode():
        assert torch.equal(head.classify(s.clone(), y, q.clone(), 5), before)


@every_head
def test_memory_stays_under_what_the_head_says(head):
    """Peak of live float32 numbers over the call, counted by the profiler, inputs added."""
    s, y, q, _ = clusters(16, n_features=640)
    head = type(head)(640, **{key: getattr(head, key) for key in ("metric", "covariance", "prior") if hasattr(head, key)})
    with torch.profiler.profile(profile_memory=True) as profile:
        head.classify(s, y, q, 5)
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    live = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        live += event.nbytes()
        peak = max(peak, live)
    assert peak > 0
    assert (peak + 4 * (s.numel() + q.numel())) / 4 <= 16 * head.episode_floats(25, 75, 5)
