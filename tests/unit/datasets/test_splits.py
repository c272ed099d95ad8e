from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.datasets._splits import per_class, stratified
from hdx.errors import DataError

sizes = st.lists(st.integers(2, 30), min_size=1, max_size=8)


def labels_of(counts: list[int], seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))


def names_of(counts: list[int]) -> list[str]:
    return [f"class{i}" for i in range(len(counts))]


@settings(max_examples=50, deadline=None)
@given(sizes, st.floats(0.05, 0.95), st.integers(0, 99))
def test_stratified_is_a_partition_with_every_class_on_both_sides(counts: list[int], fraction: float, seed: int) -> None:
    labels = labels_of(counts)
    train, test = stratified(labels, names_of(counts), fraction, seed)
    assert np.array_equal(np.sort(np.concatenate([train, test])), np.arange(len(labels)))
    expected = [min(max(1, round(n * fraction)), n - 1) for n in counts]
    assert np.bincount(labels[test], minlength=len(counts)).tolist() == expected


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(0, 99))
def test_a_further_class_moves_nothing_of_the_others(counts: list[int], seed: int) -> None:
    labels, more = np.repeat(np.arange(len(counts)), counts), np.repeat(np.arange(len(counts) + 1), [*counts, 9])
    train, _ = stratified(labels, names_of(counts), 0.3, seed)
    train_more, _ = stratified(more, names_of([*counts, 9]), 0.3, seed)
    assert np.array_equal(train, train_more[train_more < len(labels)])


def test_per_class_counts_and_disjoint() -> None:
    labels = labels_of([31, 40, 90])
    train, test = per_class(labels, names_of([31, 40, 90]), 30, 50, 0)
    assert not set(train) & set(test)
    assert np.bincount(labels[train]).tolist() == [30, 30, 30]
    assert np.bincount(labels[test]).tolist() == [1, 10, 50]


def test_seeds_differ() -> None:
    labels = labels_of([50, 50])
    assert not np.array_equal(stratified(labels, ["a", "b"], 0.5, 0)[0], stratified(labels, ["a", "b"], 0.5, 1)[0])


def test_classes_that_are_too_small_are_named() -> None:
    with pytest.raises(DataError, match=r"class 'b' has 1 image, but .* at least 2"):
        stratified(np.array([0, 0, 1]), ["a", "b"], 0.5, 0)
    with pytest.raises(DataError, match=r"train_per_class=3: class 'b' has 3 images.*Use at most 2"):
        per_class(np.array([0, 0, 0, 0, 1, 1, 1]), ["a", "b"], 3, 5, 0)
