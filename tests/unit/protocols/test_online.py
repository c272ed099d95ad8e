"""The online stream: every sample once, chunks of one size, classes new where first seen; blur as it is written."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.streams import Counted

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.protocols._base import Session
from hdx.protocols.online import Online


def arrived(sessions: list[Session]) -> np.ndarray:
    return np.concatenate([session.train for session in sessions])


def classes_of(dataset: Counted, sessions: list[Session]) -> list[int]:
    """Labels of the stream."""
    return dataset.train.labels[arrived(sessions)].tolist()


@settings(max_examples=40, deadline=None)
@given(
    counts=st.lists(st.integers(1, 7), min_size=1, max_size=6),
    chunks=st.integers(1, 12),
    order=st.sampled_from(["classes", "blurry", "shuffled"]),
    blur=st.floats(0, 1),
    disjoint=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_the_laws_of_a_stream(counts: list[int], chunks: int, order: Any, blur: float, disjoint: float, seed: int) -> None:
    dataset, protocol = Counted(counts), Online(chunks=chunks, order=order, blur=blur, disjoint=disjoint)
    if chunks > sum(counts):
        with pytest.raises(ConfigError, match=f"at most {sum(counts)} .samples of the stream., got {chunks}"):
            protocol.sessions(dataset, seed)
        return
    sessions = protocol.sessions(dataset, seed)
    assert sorted(arrived(sessions).tolist()) == list(range(sum(counts)))
    sizes = [len(session.train) for session in sessions]
    assert len(sizes) == chunks and max(sizes) - min(sizes) <= 1
    seen: list[int] = []
    for index, session in enumerate(sessions):
        labels = dataset.train.labels[session.train].tolist()
        new = list(dict.fromkeys(label for label in labels if label not in seen))
        seen += new
        assert (session.index, list(session.new_classes), list(session.seen_classes)) == (index, new, seen)
        assert list(session.present_classes) == [label for label in seen if label in labels]
        assert session.test.tolist() == [i for i, label in enumerate(dataset.test.labels) if label in seen]
        assert session.test_group is None
    again = protocol.sessions(Counted(counts), seed)
    assert arrived(again).tolist() == arrived(sessions).tolist()


def test_classes_come_one_after_the_other_in_the_order_of_the_toolboxes() -> None:
    dataset = Counted([3, 5, 2, 4])
    sessions = Online(chunks=4, order_seed=1993).sessions(dataset, 0)
    order = np.random.RandomState(1993).permutation(4)  # noqa: NPY002 - how the toolboxes draw it
    assert classes_of(dataset, sessions) == np.repeat(order, np.array([3, 5, 2, 4])[order]).tolist()
    assert [len(session.train) for session in sessions] == [4, 4, 3, 3]
    rows = arrived(sessions)
    assert any((np.diff(rows[dataset.train.labels[rows] == c]) < 0).any() for c in range(4))  # not in the order of the files


def moved(counts: list[int], **options: Any) -> dict[int, int]:
    """How many places of each class's block hold another class's sample."""
    dataset = Counted(counts)
    plain, blurry = (
        classes_of(dataset, Online(chunks=2, order=order, **extra).sessions(dataset, 7))
        for order, extra in (("classes", {}), ("blurry", options))
    )
    return {c: sum(a == c and b != c for a, b in zip(plain, blurry)) for c in range(len(counts))}


def test_a_share_of_each_blurry_class_changes_places() -> None:
    counts = [40, 80, 120, 60]
    found = moved(counts, blur=0.2)
    for label, n in enumerate(counts):
        drawn = round(0.2 * n)
        assert drawn / 3 < found[label] <= drawn  # of those drawn, about its own share of all of them comes back
    assert moved(counts, blur=0.0) == dict.fromkeys(range(4), 0)
    halves = moved(counts, blur=1.0, disjoint=0.5)
    assert sorted(value == 0 for value in halves.values()) == [False, False, True, True]


def test_what_does_not_change_places_stays_where_it_was() -> None:
    dataset = Counted([40, 80, 120, 60])
    plain, blurry = (
        arrived(Online(chunks=3, order=order, blur=0.1).sessions(dataset, 7))  # type: ignore[arg-type]
        for order in ("classes", "blurry")
    )
    changed = (plain != blurry).sum()
    assert 0.7 * 30 < changed <= 30


def test_shuffled_and_all_blurred_mix_every_chunk() -> None:
    dataset = Counted([50] * 8)
    for options in ({"order": "shuffled"}, {"order": "blurry", "blur": 1.0}):
        sessions = Online(chunks=4, **options).sessions(dataset, 1)  # type: ignore[arg-type]
        for session in sessions:  # 100 of 400, hypergeometric: 12.5 +- 2.9 of each class
            share = np.bincount(dataset.train.labels[session.train], minlength=8)
            assert share.min() >= 3 and share.max() <= 24
        assert [len(session.new_classes) for session in sessions] == [8, 0, 0, 0]


def test_shots_and_seeds_are_separate() -> None:
    dataset = Counted([6] * 5)

    def stream(**options: int) -> list[int]:
        return arrived(Online(chunks=3, shots=2, **options).sessions(dataset, 4)).tolist()

    assert sorted(stream(order_seed=0, shot_seed=0)) == sorted(stream(order_seed=1, shot_seed=0))
    assert stream(order_seed=0, shot_seed=0) != stream(order_seed=1, shot_seed=0)
    assert sorted(stream(order_seed=0, shot_seed=0)) != sorted(stream(order_seed=0, shot_seed=1))
    assert stream(order_seed=4, shot_seed=4) == stream()
    with pytest.raises(ConfigError, match=r"protocol.shots: expected at most 6"):
        Online(shots=7).sessions(dataset, 0)


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["+exp=finetune"], "trains on a sample once, not trainer.epochs=30 times: take trainer.epochs=1"),
        (["head=linear"], "not trainer.feature_epochs=100 times: take trainer.feature_epochs=1"),
        (["+exp=fsa_film", "head=linear"], "not trainer.epochs=30 and trainer.feature_epochs=100 times"),
        (
            ["protocol.blur=0.3"],
            "protocol.blur=0.3 has no effect with protocol.order=classes: leave it out, or take",
        ),
        (
            ["protocol.order=shuffled", "protocol.disjoint=0.5"],
            "protocol.disjoint=0.5 has no effect with protocol.order=shuffled",
        ),
    ],
)
def test_what_makes_no_stream_of_one_pass_is_refused(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load([*words, "protocol=online"])
    assert len(caught.value.problems) == 1 and line in caught.value.problems[0]


@pytest.mark.parametrize(
    "words",
    [
        ["+exp=fsa_na", "protocol=online"],
        ["+exp=joint", "protocol=online"],
        ["+exp=cil_cumulative", "protocol=online"],
        ["+exp=[finetune,cil_online]"],
    ],
)
def test_one_pass_heads_in_closed_form_and_the_bound_are_not(words: list[str]) -> None:
    assert load(words)["protocol.name"] == "online"
