"""Episodes and balanced batches: what is in them, how evenly, that they are pure, and what is refused."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.engine import ranks
from hdx.engine.loader import PhaseLoader
from hdx.errors import ConfigError
from hdx.methods._samplers import BalancedSampler, EpisodeSampler, LabelledSampler, distinct

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(9), [8, 7, 20, 6, 6, 30, 9, 6, 11]))


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=20), st.integers(0, 1000), st.data())
def test_distinct_numbers_below_a_bound(bounds: list[int], seed: int, data: st.DataObject) -> None:
    k = data.draw(st.integers(0, min(bounds)))
    found = distinct(rng(seed), np.array(bounds), k)
    assert found.shape == (len(bounds), k)
    for row, bound in zip(found, bounds):
        assert len(set(row)) == k and all(0 <= number < bound for number in row)


def test_distinct_numbers_are_uniform_over_ordered_choices() -> None:
    """The 4 * 3 ordered pairs out of 4, 12,000 times: chi-square with 11 degrees of freedom, 31.3 at p = 0.001."""
    pairs = Counter(map(tuple, distinct(rng(), np.full(12_000, 4), 2).tolist()))
    assert len(pairs) == 12
    assert sum((count - 1000) ** 2 / 1000 for count in pairs.values()) < 31.3


def test_an_episode_is_class_major_and_repeats_nothing() -> None:
    sampler = EpisodeSampler(ways=4, shots=2, queries=3, episodes=50)
    episodes = sampler.epoch(LABELS, rng())
    assert len(episodes) == sampler.steps(LABELS) == 50
    for episode in episodes:
        labels = LABELS[episode].reshape(4, 5)
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == 4 and len(set(episode)) == 20


def test_every_class_and_image_has_its_turn() -> None:
    """5,000 episodes of 3 of 9 classes and 2 images of each: a class comes 1/3 of the time, an image of a class of n 2/n of that.
    The bounds are 5 standard deviations of a binomial."""
    n = 5000
    drawn = np.concatenate(EpisodeSampler(3, 1, 1, n).epoch(LABELS, rng()))
    images = np.bincount(drawn, minlength=len(LABELS))
    sizes = np.bincount(LABELS)[LABELS]
    share = 2 / 3 / sizes
    assert (np.abs(images - n * share) < 5 * np.sqrt(n * share * (1 - share))).all()
    classes = np.bincount(LABELS[drawn]) / 2
    assert (np.abs(classes - n / 3) < 5 * np.sqrt(n * 2 / 9)).all()


def test_support_is_as_random_as_the_queries() -> None:
    """The first image drawn of a class is each of its 6 equally often: 5 degrees of freedom, 20.5 at p = 0.001."""
    episodes = np.stack(EpisodeSampler(9, 1, 5, 2000).epoch(LABELS, rng())).reshape(2000, 9, 6)
    of_three = [row[0] for episode in episodes for row in episode if LABELS[row[0]] == 3]
    counts = np.array(list(Counter(of_three).values()))
    assert len(of_three) == 2000 and len(counts) == 6
    assert ((counts - 2000 / 6) ** 2 / (2000 / 6)).sum() < 20.5


def test_balanced_batches_are_balanced() -> None:
    sampler = BalancedSampler(batch_size=16, per_class=5)
    batches = sampler.epoch(LABELS, rng())
    assert len(batches) == sampler.steps(LABELS) == -(-len(LABELS) // 15)
    for batch in batches:
        labels = LABELS[batch].reshape(3, 5)
        assert (labels == labels[:, :1]).all() and len(set(labels[:, 0])) == 3
        assert len(set(batch)) == 15


def test_a_class_with_too_few_images_repeats_them_evenly() -> None:
    labels = np.repeat([4, 7], [3, 20])
    for batch in BalancedSampler(batch_size=16, per_class=8).epoch(labels, rng()):
        counts = np.bincount(batch, minlength=23)
        assert counts[:3].sum() == 8 and set(counts[:3]) <= {1, 2, 3} and counts[:3].max() <= 3
        assert counts[3:].sum() == 8 and counts[3:].max() == 1


def test_a_batch_holds_no_more_classes_than_there_are() -> None:
    (batch, *_) = BalancedSampler(batch_size=100, per_class=6).epoch(LABELS, rng())
    assert np.bincount(LABELS[batch]).tolist() == [6] * 9


@pytest.mark.parametrize("sampler", [EpisodeSampler(3, 1, 2, 7), BalancedSampler(12, 4)])
def test_the_generator_decides(sampler: EpisodeSampler | BalancedSampler) -> None:
    one, same, other = (np.stack(sampler.epoch(LABELS, rng(seed))) for seed in (1, 1, 2))
    assert (one == same).all() and (one != other).any()


@pytest.mark.parametrize(
    ("sampler", "words"),
    [
        (EpisodeSampler(10, 1, 5, 1), r"method.ways=10: episodes are drawn from the 9 classes .* Use method.ways=9 or fewer"),
        (EpisodeSampler(9, 2, 5, 1), r"take 7 images of a class: 3 of 9 classes have fewer \(the smallest has 6\)"),
    ],
)
def test_what_the_classes_cannot_give_is_refused_with_the_numbers(sampler: EpisodeSampler, words: str) -> None:
    with pytest.raises(ConfigError, match=words) as caught:
        sampler.steps(LABELS)
    assert len(caught.value.problems) == 1 and "\n" not in caught.value.problems[0]


def loader(sampler: EpisodeSampler | BalancedSampler) -> PhaseLoader:
    features = torch.arange(len(LABELS), dtype=torch.float32)[:, None]
    indices = np.arange(len(LABELS))
    parts = {"epochs": 2, "batch_size": 1, "seed": 0, "parts": (0, 0), "device": torch.device("cpu")}
    return PhaseLoader(features, indices, LABELS, sampler=sampler, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize("sampler", [EpisodeSampler(3, 1, 2, 4), BalancedSampler(30, 5)])
def test_the_loader_deals_out_what_the_sampler_drew(sampler: EpisodeSampler | BalancedSampler) -> None:
    whole = loader(sampler)
    batches = list(whole)
    assert len(batches) == len(whole) == 8 and whole.steps_per_epoch == 4
    for x, y, weight, *_ in batches:
        assert y.tolist() == LABELS[x[:, 0].long()].tolist() and weight == 1 / len(y)
    later = loader(sampler)
    later.start = 3
    for (x, *_), (again, *_) in zip(batches[3:], later, strict=True):
        assert torch.equal(x, again)
    assert not torch.equal(batches[0][0], batches[4][0])


def test_ranks_take_their_part_of_an_episode_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    sampler = EpisodeSampler(3, 1, 2, 4)
    alone, shares = list(loader(sampler)), []
    for rank in range(2):
        monkeypatch.setattr(ranks, "rank", lambda rank=rank: rank)
        monkeypatch.setattr(ranks, "world", lambda: 2)
        shares.append(list(loader(sampler)))
    for step, (x, *_) in enumerate(alone):
        assert [len(share[step][0]) for share in shares] == [5, 4]
        assert torch.equal(torch.cat([share[step][0] for share in shares]), x)


@settings(max_examples=30, deadline=None)
@given(n_labelled=st.integers(1, 40), n_others=st.integers(1, 200), batch_size=st.integers(2, 33), seed=st.integers(0, 9))
def test_batches_are_half_labelled_and_each_half_comes_round_evenly(
    n_labelled: int, n_others: int, batch_size: int, seed: int
) -> None:
    labels = np.array([0] * n_labelled + [-1] * n_others)
    sampler = LabelledSampler(n_labelled, batch_size)
    batches = sampler.epoch(labels, rng(seed))
    assert len(batches) == sampler.steps(labels)
    assert all(2 * (batch < n_labelled).sum() == len(batch) <= batch_size for batch in batches)
    counts = np.bincount(np.concatenate(batches), minlength=len(labels))
    for part in (counts[:n_labelled], counts[n_labelled:]):
        assert part.min() >= 1 and part.max() - part.min() <= 1
        assert len(part) < max(n_labelled, n_others) or part.max() == 1
    again = sampler.epoch(labels, rng(seed))
    assert all(np.array_equal(one, other) for one, other in zip(batches, again))
