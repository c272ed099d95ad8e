"""Protocols: sessions are a pure function of dataset and seed, disjoint and complete."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.config.identity import group_hash
from hdx.config.validate import load
from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import ConfigError
from hdx.protocols.class_incremental import ClassIncremental
from hdx.protocols.offline import Offline


class Labels(ImageSet):
    """A split of which a protocol sees the labels only; fetching from it is an error."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def fetch(self, indices: np.ndarray):  # type: ignore[no-untyped-def]
        raise AssertionError("a protocol must not look at images")


class Twelve(Dataset):
    licence = "none"

    def __init__(self, n_classes: int = 12, per_class: int = 6) -> None:
        super().__init__(None, Path())
        self.classes = [f"c{i}" for i in range(n_classes)]
        rng = np.random.default_rng(5)
        self.train = Labels(rng.permutation(np.repeat(np.arange(n_classes), per_class)))
        self.test = Labels(rng.permutation(np.repeat(np.arange(n_classes), 3)))


@settings(max_examples=30, deadline=None)
@given(first=st.integers(0, 12), step=st.integers(1, 12), seed=st.integers(0, 50), shots=st.one_of(st.none(), st.integers(1, 6)))
def test_sessions_partition_the_classes(first: int, step: int, seed: int, shots: int | None) -> None:
    dataset = Twelve()
    sessions = ClassIncremental(first=first, step=step, shots=shots).sessions(dataset, seed)
    arrived = [c for s in sessions for c in s.new_classes]
    assert sorted(arrived) == list(range(12))
    assert len(sessions[0].new_classes) == min(first or step, 12)
    all_train = np.concatenate([s.train for s in sessions])
    assert len(np.unique(all_train)) == len(all_train) == 12 * (shots or 6)
    for s in sessions:
        assert s.seen_classes == tuple(arrived[: len(s.seen_classes)])
        assert set(dataset.train.labels[s.train]) == set(s.new_classes)
        assert set(dataset.test.labels[s.test]) == set(s.seen_classes)
        assert len(s.test) == 3 * len(s.seen_classes)


def test_order_seed_1993_is_the_order_of_the_toolboxes() -> None:
    np.random.seed(1993)  # noqa: NPY002 - how the toolboxes draw it
    expected = np.random.permutation(12)  # noqa: NPY002
    for seed in (0, 7):
        sessions = ClassIncremental(step=3, order_seed=1993).sessions(Twelve(), seed)
        assert [c for s in sessions for c in s.new_classes] == expected.tolist()


def test_seeds_are_separate() -> None:
    def drawn(**options: int) -> tuple[list[int], list[int]]:
        sessions = ClassIncremental(step=4, shots=2, **options).sessions(Twelve(), 3)
        return [c for s in sessions for c in s.new_classes], sorted(np.concatenate([s.train for s in sessions]).tolist())

    order, shots = drawn(order_seed=0, shot_seed=0)
    assert drawn(order_seed=1, shot_seed=0)[1] == shots != drawn(order_seed=0, shot_seed=1)[1]
    assert drawn(order_seed=0, shot_seed=1)[0] == order != drawn(order_seed=1, shot_seed=0)[0]


def test_fewer_shots_are_a_subset_of_more() -> None:
    few = Offline(shots=2).sessions(Twelve(), 1)[0].train
    more = Offline(shots=4).sessions(Twelve(), 1)[0].train
    assert set(few) < set(more)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"first": 13}, "protocol.first: the dataset has 12 classes, got 13"),
        ({"shots": 7}, "protocol.shots: expected at most 6"),
        ({"sizes": [1, 4, 6]}, "protocol.sizes: the dataset has 12 classes, got 11 in 3 sessions"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        ClassIncremental(**options).sessions(Twelve(), 0)


def test_default_step_is_a_tenth_of_the_classes_but_at_least_two() -> None:
    assert len(ClassIncremental().sessions(Twelve(10), 0)) == 5
    assert len(ClassIncremental().sessions(Twelve(100, 1), 0)) == 10


def test_sessions_of_unequal_size_in_the_order_of_equal_ones() -> None:
    dataset = Twelve()
    sessions = ClassIncremental(sizes=[1, 5, 1, 2, 3]).sessions(dataset, 4)
    assert [len(session.new_classes) for session in sessions] == [1, 5, 1, 2, 3]
    assert sessions[-1].seen_classes == ClassIncremental(step=3).sessions(dataset, 4)[-1].seen_classes
    assert all(session.present_classes == session.new_classes for session in sessions)


def test_sizes_and_steps_do_not_go_together() -> None:
    assert load(["protocol.sizes=[1,4,5]"])["protocol.sizes"] == [1, 4, 5]
    with pytest.raises(ConfigError, match="leave out protocol.first=2 and protocol.step=3, or sizes"):
        load(["protocol.sizes=[1,4,5]", "protocol.first=2", "protocol.step=3"])


def test_runs_without_sizes_keep_the_identity_they_had_before_there_were_any() -> None:
    data = load().data
    older = {**data, "protocol": {key: value for key, value in data["protocol"].items() if key != "sizes"}}
    assert group_hash(data) == group_hash(older) != load(["protocol.sizes=[5,5]"]).group_hash
