"""Laws of the heads that cluster or tune prototypes: order, batches, odd shapes, and that looking at the queries helps."""

from __future__ import annotations

import pytest
import torch
from tests.clusters import accuracy, clusters
from torch.nn import functional as F

from hdx.heads._episode import EpisodeHead, class_means
from hdx.heads.pt_map import PTMAP
from hdx.heads.slk import SLK
from hdx.heads.tim import TIM
from hdx.heads.transductive_finetune import TransductiveFinetune
from hdx.heads.tuned_prototypes import TunedPrototypes

HEADS = {
    "tim": lambda d: TIM(d, steps=10, lr=1e-3),
    "pt_map": PTMAP,
    "pt_map_uncentred": lambda d: PTMAP(d, centre=False),
    "tuned_prototypes": lambda d: TunedPrototypes(d, steps=10, lr=1e-3),
    "transductive_finetune": lambda d: TransductiveFinetune(d, steps=10, lr=1e-3, temperature=10.0),
    "k_means": lambda d: SLK(d, unary="means", lam=0.0, centre="none"),
    "k_modes": lambda d: SLK(d, unary="modes", lam=0.0, centre="none"),
    "slk_means": lambda d: SLK(d, unary="means", centre="none"),
    "slk_ms": lambda d: SLK(d, unary="modes", centre="none"),
    "slk_unclamped": lambda d: SLK(d, unary="modes", clamp=False, centre="none"),
}
every_head = pytest.mark.parametrize("name", HEADS)


def classified(name: str, support, labels, query, ways: int) -> torch.Tensor:
    """Softmax of the logits, which exist in float32 only up to a constant a query."""
    logits = HEADS[name](support.shape[2]).classify(support, labels, query, ways)
    assert logits.shape == (*query.shape[:2], ways) and logits.dtype == query.dtype
    assert torch.isfinite(logits).all()
    return logits.softmax(2)


@every_head
def test_an_episode_does_not_depend_on_its_batch(name):
    s, y, q, _ = clusters(6)
    together = classified(name, s, y, q, 5)
    for e in range(6):
        torch.testing.assert_close(
            classified(name, s[e : e + 1], y[e : e + 1], q[e : e + 1], 5)[0], together[e], rtol=0, atol=1e-5
        )


@every_head
def test_order_of_queries_support_and_classes(name):
    s, y, q, _ = clusters(3, seed=1)
    before = classified(name, s, y, q, 5)
    g = torch.Generator().manual_seed(0)
    queries, supports = torch.randperm(75, generator=g), torch.randperm(25, generator=g)
    after = classified(name, s[:, supports], y[:, supports], q[:, queries], 5)
    torch.testing.assert_close(after, before[:, queries], rtol=0, atol=1e-5)
    renamed = torch.tensor([3, 0, 4, 1, 2])
    torch.testing.assert_close(classified(name, s, renamed[y], q, 5)[..., renamed], before, rtol=0, atol=1e-5)


@every_head
@pytest.mark.parametrize("shape", [{"ways": 2}, {"queries": 1}, {"shots": 1}, {"ways": 2, "shots": 1, "queries": 1}], ids=str)
def test_small_shapes(name, shape):
    s, y, q, truth = clusters(4, **{"signal": 3.0, **shape})
    found = classified(name, s, y, q, shape.get("ways", 5))
    assert (found.argmax(2) == truth).double().mean() > 0.9


def test_a_single_query():
    """Moving queries onto the support's mean, or giving each class its share of them, needs more than one."""
    s, y, q, truth = clusters(8, signal=3.0)
    alone, truth = q[:, 40:41], truth[:, 40:41]
    for name in HEADS:
        found = classified(name, s, y, alone, 5)
        if name.startswith("pt_map"):  # a fifth for each class
            torch.testing.assert_close(found, torch.full_like(found, 0.2), rtol=0, atol=1e-5)
        elif name.startswith(("k_", "slk")):  # wherever the query was, it is now the support's mean
            torch.testing.assert_close(classified(name, s, y, q[:, :1], 5), found, rtol=0, atol=1e-4)
        else:
            assert (found.argmax(2) == truth).all(), name
    for unary in ("means", "modes"):
        assert (SLK(64, unary=unary, centre="none", shift=False).classify(s, y, alone, 5).argmax(2) == truth).all()


@every_head
def test_unequal_shots_in_any_order(name):
    s, y, q, truth = clusters(4, signal=2.0)
    kept = torch.tensor([20, 0, 5, 6, 10, 11, 12, 24, 15, 16, 17, 18, 19])  # 1, 2, 3, 5 and 2 of the classes
    found = classified(name, s[:, kept], y[:, kept], q, 5)
    assert (found.argmax(2) == truth).double().mean() > 0.95


@every_head
def test_a_class_without_queries(name):
    s, y, q, truth = clusters(6, signal=2.0, queries=16)
    present = torch.cat([torch.arange(32), torch.arange(48, 80)])  # none of class 2
    found = classified(name, s, y, q[:, present], 5)
    expected = 0.7 if name.startswith("pt_map") else 0.95  # a balanced plan must give class 2 its fifth
    assert (found.argmax(2) == truth[:, present]).double().mean() > expected


@every_head
def test_inference_mode_and_inputs_unchanged(name):
    s, y, q, _ = clusters(2)
    copies = s.clone(), q.clone()
    before = classified(name, s, y, q, 5)
    assert torch.equal(s, copies[0]) and torch.equal(q, copies[1])
    with torch.inference_mode():
        assert torch.equal(classified(name, s.clone(), y, q.clone(), 5), before)


@pytest.mark.parametrize(
    ("head", "shots", "signal", "margin"),
    [
        (TIM(64), 1, 0.8, 0.01),
        (TIM(64, lr=1e-3, conditional_entropy_weight=0.5), 1, 0.8, 0.08),
        (PTMAP(64), 1, 0.8, 0.15),
        (PTMAP(64, steps=10, centre=False), 1, 0.8, 0.1),
        (SLK(64, unary="means", lam=0.0), 1, 0.8, 0.1),
        (SLK(64, unary="modes", lam=0.0), 1, 0.8, 0.1),
        (SLK(64, unary="means"), 1, 0.8, 0.05),
        (SLK(64, unary="modes"), 1, 0.8, 0.1),
        (TransductiveFinetune(64, lr=1e-3, temperature=10.0), 5, 0.6, 0.01),
        (TunedPrototypes(64), 5, 0.6, 0.01),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, EpisodeHead) else str(value),
)
def test_better_than_class_means(head, shots, signal, margin):
    s, y, q, truth = clusters(60, shots=shots, signal=signal)
    if head.centres_on_base:
        head.base_mean = q.mean((0, 1))
    means = class_means(F.normalize(s, dim=2), y, 5)
    plain = F.normalize(q, dim=2) @ F.normalize(means, dim=2).transpose(1, 2)
    assert accuracy(head.classify(s, y, q, 5), truth) > accuracy(plain, truth) + margin


def test_what_each_head_says_of_itself():
    assert SLK(4).matched and SLK(4).centres_on_base and not SLK(4, centre="none").centres_on_base
    assert not any(head(4).matched or head(4).centres_on_base for head in (TIM, PTMAP, TunedPrototypes, TransductiveFinetune))
