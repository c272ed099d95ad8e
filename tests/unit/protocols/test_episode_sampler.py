"""Episodes: valid, uniform, pure, prefixes of one another; Meta-Dataset's rule against a plain loop over its sentences."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from hdx.protocols._base import Episodes
from hdx.protocols._draws import NOTHING, dirichlet_counts, outside, subsets
from hdx.protocols._episodes import ClassRows, Shape, Source, draw_episodes

FIELDS = ("number", "classes", "support", "support_labels", "query", "query_labels")


def labels_of(sizes: list[int]) -> np.ndarray:
    """Images of classes 100, 101, … in mixed order."""
    return np.random.default_rng(3).permutation(np.repeat(100 + np.arange(len(sizes)), sizes))


def source_of(labels: np.ndarray, groups: list[np.ndarray] | None = None, n_train: int | None = None) -> Source:
    classes = np.unique(labels)
    groups = [np.arange(len(classes))] if groups is None else groups
    if n_train is None:
        images = ClassRows(labels, classes)
        return Source(classes, groups, images, images)
    parts = np.split(np.arange(len(labels)), [n_train])
    return Source(classes, groups, *(ClassRows(labels, classes, part) for part in parts))


def each(buckets: list[Episodes]) -> list[tuple[int, tuple[np.ndarray, ...]]]:
    """(number, the five arrays) of all episodes, by number."""
    rows = [(int(b.number[i]), tuple(getattr(b, f)[i] for f in FIELDS[1:])) for b in buckets for i in range(len(b))]
    return sorted(rows, key=lambda row: row[0])


def check(buckets: list[Episodes], labels: np.ndarray) -> None:
    """What holds of every list of episodes."""
    assert sorted(n for b in buckets for n in b.number) == list(range(sum(len(b) for b in buckets)))
    for _, (classes, support, support_labels, query, query_labels) in each(buckets):
        assert len(set(classes)) == len(classes)
        assert len({*support, *query}) == len(support) + len(query)
        assert (np.diff(support_labels) >= 0).all() and set(support_labels) == set(range(len(classes)))
        np.testing.assert_array_equal(labels[support], classes[support_labels])
        np.testing.assert_array_equal(labels[query], classes[query_labels])


@settings(max_examples=40, deadline=None)
@given(data=st.data(), seed=st.integers(0, 1000), shots=st.integers(1, 4), queries=st.integers(1, 5))
def test_episodes_are_valid_for_classes_of_any_size(data: st.DataObject, seed: int, shots: int, queries: int) -> None:
    sizes = data.draw(st.lists(st.integers(shots + queries, 40), min_size=2, max_size=9))
    ways = data.draw(st.integers(2, len(sizes)))
    dirichlet = data.draw(st.sampled_from([None, 0.1, 2.0]))
    labels = labels_of(sizes)
    (bucket,) = buckets = draw_episodes(source_of(labels), Shape(ways, shots, queries, dirichlet), 20, seed)
    check(buckets, labels)
    assert bucket.classes.shape == (20, ways)
    assert bucket.support.shape == (20, ways * shots) and bucket.query.shape == (20, ways * queries)
    if dirichlet is None:
        assert (bucket.query_labels == np.repeat(np.arange(ways), queries)).all()


@pytest.mark.parametrize(
    "shape", [Shape(5, 1, 3), Shape(5, 1, 3, 2.0), Shape(None, None, 3), Shape(None, 2, 3), Shape(3, None, 3)]
)
def test_the_same_seed_gives_the_same_list_and_a_shorter_list_is_its_beginning(shape: Shape) -> None:
    source = source_of(labels_of([8, 9, 11, 30, 12, 10, 7]))
    many, again, few, other = (each(draw_episodes(source, shape, n, s)) for n, s in ((1300, 4), (1300, 4), (90, 4), (90, 5)))
    assert [n for n, _ in many] == list(range(1300))
    for one, two in ((many, again), (many[:90], few)):
        assert all(np.array_equal(a, b) for (_, x), (_, y) in zip(one, two, strict=True) for a, b in zip(x, y, strict=True))
    assert any(not np.array_equal(x[0], y[0]) for (_, x), (_, y) in zip(few, other))


def test_the_list_is_pinned() -> None:
    (bucket,) = draw_episodes(source_of(np.repeat(np.arange(20), 30)), Shape(3, 2, 1), 2, 0)
    assert bucket.classes.tolist() == [[13, 12, 1], [8, 14, 6]]
    assert bucket.support.tolist() == [[410, 419, 385, 381, 55, 53], [264, 247, 440, 441, 196, 194]]
    assert bucket.query.tolist() == [[405, 377, 36], [244, 430, 208]]


def test_classes_do_not_depend_on_the_shots_nor_supports_on_the_queries() -> None:
    source = source_of(labels_of([20] * 12))
    (one,), (more,), (five,), (uneven,) = (
        draw_episodes(source, shape, 50, 1) for shape in (Shape(5, 1, 2), Shape(5, 1, 9), Shape(5, 5, 2), Shape(5, 1, 9, 1.0))
    )
    for other in (more, five, uneven):
        np.testing.assert_array_equal(one.classes, other.classes)
    for other in (more, uneven):
        np.testing.assert_array_equal(one.support, other.support)


def test_every_set_of_classes_and_images_is_equally_likely() -> None:
    labels = np.repeat(np.arange(5), [4, 6, 5, 5, 7])
    (bucket,) = draw_episodes(source_of(labels), Shape(3, 2, 1), 20_000, 0)
    sets = {pair: i for i, pair in enumerate(combinations(range(5), 3))}
    found = np.bincount([sets[tuple(sorted(row))] for row in bucket.classes.tolist()], minlength=10)
    assert chisquare(found).pvalue > 1e-3
    first = np.bincount(bucket.classes[:, 0], minlength=5)  # positions as well
    assert chisquare(first).pvalue > 1e-3
    for label, size in ((0, 4), (1, 6), (4, 7)):
        e, slot = np.nonzero(bucket.classes == label)
        support = np.sort(bucket.support.reshape(-1, 3, 2)[e, slot] - np.searchsorted(labels, label), axis=1)
        query = bucket.query.reshape(-1, 3)[e, slot] - np.searchsorted(labels, label)
        outcomes = [(a, b, q) for a, b in combinations(range(size), 2) for q in range(size) if q not in (a, b)]
        number = {outcome: i for i, outcome in enumerate(outcomes)}
        counts = np.bincount([number[a, b, q] for (a, b), q in zip(support.tolist(), query.tolist())], minlength=len(outcomes))
        assert chisquare(counts).pvalue > 1e-3


def test_subsets_are_exact_where_they_are_everything() -> None:
    rng = np.random.default_rng(0)
    sizes, counts = np.array([3, 5, 1, 4]), np.array([3, 0, 1, 2])
    picked = subsets(sizes, counts, rng)
    assert sorted(picked[:, 0].tolist()) == [0, 1, 2]
    assert (picked[:, 1] == NOTHING).all() and picked[0, 2] == 0
    assert len(set(picked[:2, 3].tolist())) == 2 and picked[2, 3] == NOTHING
    left = subsets(sizes - counts, sizes - counts, rng)
    rest = outside(picked, left)
    for r, size in enumerate(sizes):
        together = [value for value in [*picked[:, r], *rest[:, r]] if value != NOTHING]
        assert sorted(together) == list(range(size))


def test_support_and_queries_from_two_pools() -> None:
    labels = np.concatenate([np.repeat(np.arange(6), 3), np.repeat(np.arange(6), 4)])
    (bucket,) = buckets = draw_episodes(source_of(labels, n_train=18), Shape(4, 3, 4), 30, 0)
    assert bucket.support.max() < 18 <= bucket.query.min()
    assert all(set(row) == set(np.flatnonzero(np.isin(labels[:18], cls))) for row, cls in zip(bucket.support, bucket.classes))
    check(buckets, labels)


def test_groups_are_taken_in_turn() -> None:
    groups = [np.arange(0, 3), np.arange(3, 8), np.arange(8, 12)]
    source = source_of(np.repeat(np.arange(12), 6), groups)
    (bucket,) = draw_episodes(source, Shape(3, 1, 2), 30, 7)
    group = np.searchsorted([3, 8], bucket.classes, side="right")
    assert (group == group[:, :1]).all()
    order = group[:3, 0]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_array_equal(group[:, 0], np.tile(order, 10))


@settings(max_examples=40, deadline=None)
@given(data=st.data(), concentration=st.sampled_from([0.01, 0.5, 2.0, 100.0]), seed=st.integers(0, 99))
def test_dirichlet_counts_keep_totals_and_rooms(data: st.DataObject, concentration: float, seed: int) -> None:
    room = np.array(data.draw(st.lists(st.lists(st.integers(0, 9), min_size=4, max_size=4), min_size=1, max_size=5)))
    totals = np.array([data.draw(st.integers(0, int(most))) for most in room.sum(1)])
    counts = dirichlet_counts(totals, room, concentration, np.random.default_rng(seed))
    np.testing.assert_array_equal(counts.sum(1), totals)
    assert (counts >= 0).all() and (counts <= room).all()


def test_dirichlet_queries_are_those_of_the_proportions() -> None:
    """Where no class runs out, counts have a Dirichlet's mean and variance (and the rounding's, at most a twelfth)."""
    (bucket,) = draw_episodes(source_of(np.repeat(np.arange(5), 200)), Shape(5, 1, 15, 2.0), 4000, 0)
    counts = np.stack([(bucket.query_labels == way).sum(1) for way in range(5)], 1)
    assert (counts.sum(1) == 75).all() and counts.min() == 0
    np.testing.assert_allclose(counts.mean(0), 15, atol=0.5)
    np.testing.assert_allclose(counts.var(0), 75**2 * 0.2 * 0.8 / 11, rtol=0.08)
    (even,) = draw_episodes(source_of(np.repeat(np.arange(5), 200)), Shape(5, 1, 15, 1e7), 20, 0)
    assert np.bincount(even.query_labels.ravel()).tolist() == [300] * 5


def test_dirichlet_queries_never_exceed_a_class() -> None:
    labels = np.repeat(np.arange(4), [7, 30, 7, 8])
    buckets = draw_episodes(source_of(labels), Shape(4, 2, 5, 0.05), 200, 0)
    check(buckets, labels)
    assert all(len(bucket.query[0]) == 20 for bucket in buckets)


def variable_by_the_book(sizes: np.ndarray, beta: float, alphas: np.ndarray) -> tuple[int, list[int]]:
    """Section 3.2 of the paper, step by step, for the classes of one episode."""
    q = min(10, *(math.floor(0.5 * n) for n in sizes))
    size = min(500, sum(math.ceil(beta * min(100, n - q)) for n in sizes))
    weights = [math.exp(a) * n for a, n in zip(alphas, sizes)]
    shares = [w / sum(weights) for w in weights]
    return q, [min(math.floor(share * (size - len(sizes))) + 1, n - q) for share, n in zip(shares, sizes)]


def test_variable_shots_are_those_of_the_paper() -> None:
    from hdx.protocols._episodes import _variable

    rng = np.random.default_rng(1)
    ways = rng.integers(2, 51, 60)
    sizes = rng.integers(2, 1500, ways.sum()) // rng.choice([1, 10, 60], ways.sum()) + 2
    each_class, shots = _variable(True, 10, ways, sizes, sizes, np.random.default_rng(2))
    again = np.random.default_rng(2)
    betas = 1 - again.random(60)
    alphas = again.uniform(math.log(0.5), math.log(2), ways.sum())
    start = 0
    for e, n in enumerate(ways):
        part = slice(start, start + n)
        assert (each_class[e], shots[part].tolist()) == variable_by_the_book(sizes[part], betas[e], alphas[part])
        start += n
    assert shots.min() == 1 and shots.max() > 50


def test_variable_episodes() -> None:
    labels = labels_of([31, 45, 800, 20, 60, 25, 300, 21, 90])
    buckets = draw_episodes(source_of(labels), Shape(None, None, 10), 400, 0)
    check(buckets, labels)
    shapes = [(b.ways, b.support.shape[1], b.query.shape[1]) for b in buckets]
    assert len(set(shapes)) == len(shapes) > 100
    ways = np.repeat([b.ways for b in buckets], [len(b) for b in buckets])
    assert chisquare(np.bincount(ways, minlength=10)[5:]).pvalue > 1e-3  # uniform in 5 … 9
    assert all(b.query.shape[1] == 10 * b.ways for b in buckets)
    assert [int(b.number[0]) for b in buckets] == sorted(int(b.number[0]) for b in buckets)


def test_variable_ways_are_at_most_fifty() -> None:
    buckets = draw_episodes(source_of(np.repeat(np.arange(70), 4)), Shape(None, 1, 2), 300, 0)
    assert (min(b.ways for b in buckets), max(b.ways for b in buckets)) == (5, 50)
    assert all(b.support.shape[1] == b.ways for b in buckets)
