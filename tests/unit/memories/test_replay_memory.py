"""What a replay memory keeps: its bounds, its shares, what is uniform, what is pure, and which options clash."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.memories.memory_samples import IMAGE_BYTES, fill, samples_of, sessions_of

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.memories._base import Samples
from hdx.memories.replay import Replay
from hdx.protocols._base import Session

CHOICES = ("herding", "random", "reservoir")
LABELS = np.repeat([3, 0, 2, 1], [30, 20, 4, 25])  # in the order of their arrival
PARTS = [list(range(50)), list(range(50, 54)), list(range(54, 79))]  # {3, 0}, {2}, {1}
SAMPLES, SESSIONS = samples_of(LABELS), sessions_of(LABELS, PARTS)


def counts(rows: list[int]) -> dict[int, int]:
    """Images of each class, in the order in which they are kept."""
    return dict(Counter(LABELS[rows].tolist()))


def whole(options: dict[str, Any]) -> Replay:
    return Replay(**{"size": None, **options})


@pytest.mark.parametrize("choice", CHOICES)
def test_classes_share_the_room_and_the_first_ones_get_the_remainder(choice: str) -> None:
    first, second, third = map(counts, fill(Replay(size=15, choice=choice), SAMPLES, SESSIONS))  # type: ignore[arg-type]
    assert first == {3: 8, 0: 7}
    assert second == {3: 5, 0: 5, 2: 4}  # it has no fifth image, and its room stays empty
    assert third == {3: 4, 0: 4, 2: 4, 1: 3}
    assert list(third) == [3, 0, 2, 1]


@pytest.mark.parametrize("choice", CHOICES)
def test_a_class_without_new_images_only_gives_up_its_last_ones(choice: str) -> None:
    kept = fill(Replay(size=15, choice=choice), SAMPLES, SESSIONS)  # type: ignore[arg-type]
    for before, after in zip(kept, kept[1:]):
        for label in (3, 0):
            old = [row for row in before if LABELS[row] == label]
            now = [row for row in after if LABELS[row] == label]
            assert now == old[: len(now)]


@pytest.mark.parametrize("choice", CHOICES)
@pytest.mark.parametrize(
    ("options", "most"),
    [
        ({"per_class": 6}, [12, 16, 22]),
        ({"bytes": 15 * IMAGE_BYTES + IMAGE_BYTES - 1}, [15, 14, 15]),
        ({"bytes": IMAGE_BYTES - 1}, [0, 0, 0]),
        ({"size": 0}, [0, 0, 0]),
        ({"size": 3}, [3, 3, 3]),
        ({"size": 1000}, [50, 54, 79]),
    ],
)
def test_bounds(choice: str, options: dict[str, int], most: list[int]) -> None:
    kept = fill(whole({**options, "choice": choice}), SAMPLES, SESSIONS)
    assert [len(rows) for rows in kept] == most
    for rows, session in zip(kept, SESSIONS):
        assert len(set(rows)) == len(rows)
        assert set(rows) <= set(np.concatenate([past.train for past in SESSIONS[: session.index + 1]]).tolist())
    if "bytes" in options:
        assert all(len(rows) * IMAGE_BYTES <= options["bytes"] for rows in kept)


def test_nothing_is_extracted_for_a_memory_without_room_or_one_that_does_not_look() -> None:
    asked: list[np.ndarray] = []
    looking = samples_of(LABELS, asked=asked)
    for memory in (Replay(size=0), Replay(choice="random"), Replay(choice="reservoir", balanced=False)):
        fill(memory, looking, SESSIONS)
    assert asked == []
    fill(Replay(size=15), looking, SESSIONS)
    assert [sorted(rows.tolist()) for rows in asked] == PARTS  # never an image of an earlier session


@settings(max_examples=25, deadline=None)
@given(st.data(), st.sampled_from([("herding", True), ("random", True), ("reservoir", True), ("reservoir", False)]))
def test_the_order_of_the_samples_does_not_matter_the_seed_does(data: st.DataObject, how: tuple[Any, bool]) -> None:
    shuffled = [Session(s.index, s.new_classes, s.seen_classes, np.array(data.draw(st.permutations(s.train.tolist()))), s.test)
                for s in SESSIONS]  # fmt: skip
    seed = data.draw(st.integers(0, 99))
    one, other = (fill(Replay(size=15, choice=how[0], balanced=how[1]), SAMPLES, s, seed) for s in (SESSIONS, shuffled))
    assert one == other
    again = fill(Replay(size=15, choice=how[0], balanced=how[1]), SAMPLES, SESSIONS, seed + 1)
    assert (again == one) == (how[0] == "herding")


def uniform(kept: np.ndarray, n: int, size: int) -> None:
    """Chi-square over [R, size] positions among n: each is in with the same probability, R size / n times.

    Samples without replacement have a smaller variance than a multinomial's, by 1 - size / n, which the statistic makes up for.
    """
    seen = np.bincount(kept.ravel(), minlength=n)
    expected = kept.size / n
    statistic = ((seen - expected) ** 2 / expected).sum() / (1 - size / n)
    degrees = n - 1
    assert statistic < degrees + 3.3 * (2 * degrees) ** 0.5  # p of about 0.001
    assert statistic > degrees - 3.3 * (2 * degrees) ** 0.5


def test_an_unbalanced_reservoir_is_a_uniform_sample_of_the_stream() -> None:
    """However long the sessions are and wherever a class ends."""
    labels = np.repeat([0, 1, 2], [10, 25, 5])
    sessions = sessions_of(labels, [list(range(3)), list(range(3, 30)), list(range(30, 40))])
    samples = samples_of(labels)
    kept = [fill(Replay(size=8, choice="reservoir", balanced=False), samples, sessions, seed)[-1] for seed in range(1500)]
    uniform(np.array(kept), 40, 8)


def test_a_balanced_reservoir_is_a_uniform_sample_of_each_class() -> None:
    """Also of a class that comes again twice, where a draw among what is kept and what is new would favour the new."""
    labels = np.repeat([0, 1], [20, 20])
    sessions = sessions_of(labels, [[*range(12), 20], [*range(12, 17), *range(21, 40)], list(range(17, 20))])
    samples = samples_of(labels)
    kept = np.array([fill(Replay(size=10, choice="reservoir"), samples, sessions, seed)[-1] for seed in range(1500)])
    assert (labels[kept] == np.repeat([0, 1], 5)).all()
    uniform(kept[:, :5], 20, 5)
    uniform(kept[:, 5:] - 20, 20, 5)


def test_random_is_uniform_over_a_class_that_comes_once() -> None:
    kept = np.array([fill(Replay(size=4, choice="random"), SAMPLES, SESSIONS[:1], seed)[-1] for seed in range(1500)])
    uniform(kept[:, :2], 30, 2)


@pytest.mark.parametrize("choice", CHOICES)
def test_a_class_seen_again_chooses_among_what_is_kept_and_what_is_new(choice: str) -> None:
    labels = np.array([0] * 6 + [1] * 6 + [0] * 3)
    sessions = sessions_of(labels, [list(range(6)), list(range(6, 12)), [0, 1, 12, 13, 14]])  # rows 0 and 1 come again
    asked: list[np.ndarray] = []
    memory = Replay(size=8, choice=choice)  # type: ignore[arg-type]
    first, second, third = fill(memory, samples_of(labels, asked=asked), sessions)
    own = [row for row in third if labels[row] == 0]
    candidates = {row for row in second if labels[row] == 0} | {0, 1, 12, 13, 14}
    assert set(own) <= candidates and len(set(own)) == len(own) == 4
    assert third[4:] == second[4:]  # the other class is untouched, and the order is still that of arrival
    if choice == "herding":
        assert set(asked[2].tolist()) == candidates


def test_room_for_fewer_images_than_classes() -> None:
    labels = np.arange(5)
    kept = fill(Replay(size=3), samples_of(labels), sessions_of(labels, [[0, 1], [2], [3, 4]]))
    assert kept == [[0, 1], [0, 1, 2], [0, 1, 2]]


def test_a_session_without_new_classes_or_with_one() -> None:
    labels = np.array([0, 0, 0, 1, 1, 0])
    kept = fill(Replay(size=4, choice="random"), samples_of(labels), sessions_of(labels, [[0, 1, 2], [3, 4], [5]]))
    assert [len(rows) for rows in kept] == [3, 4, 4]


@pytest.mark.parametrize("how", [("herding", True), ("reservoir", True), ("reservoir", False)])
def test_the_state_is_indices_and_goes_on_where_it_was(how: tuple[Any, bool]) -> None:
    memory = Replay(size=15, choice=how[0], balanced=how[1])
    fill(memory, SAMPLES, SESSIONS[:2])
    state = {name: value.clone() for name, value in memory.state().items()}
    assert all(value.dtype == torch.int64 and value.shape == (len(memory.rows),) for value in state.values())
    assert sum(value.nbytes for value in state.values()) <= 3 * 8 * 15
    assert memory.labels.tolist() == LABELS[memory.rows].tolist()
    other = Replay(size=15, choice=how[0], balanced=how[1])
    other.load(state)
    assert fill(memory, SAMPLES, SESSIONS[2:]) == fill(other, SAMPLES, SESSIONS[2:])


BASE = ("method=replay", "adapter=full", "head=linear", "memory=replay")


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (
            ["memory=replay", "method=frozen"],
            "memory=replay has no effect with method=frozen, which uses none: take memory=none, or method=replay",
        ),
        (
            [*BASE[:-1], "memory=none"],
            "method=replay trains on what a memory keeps, and memory=none: take memory=replay, or method=finetune",
        ),
        (
            [*BASE, "memory.per_class=5"],
            "memory=replay is bounded by one of size, per_class and bytes, got memory.size=200 and memory.per_class=5: "
            "give one, and make the others null, as in memory.size=null",
        ),
        ([*BASE, "memory.size=null"], "memory=replay is bounded by one of size, per_class and bytes, got none of them: give one"),
        (
            [*BASE, "memory.balanced=false"],
            "memory.balanced=false is for memory.choice=reservoir, not memory.choice=herding: "
            "leave it out, or take memory.choice=reservoir",
        ),
        (
            [*BASE, "memory.balanced=false", "memory.choice=reservoir", "memory.size=null", "memory.per_class=2"],
            "memory.balanced=false leaves shares to chance, and memory.per_class=2 sets them: "
            "leave it out, or take memory.size or memory.bytes",
        ),
    ],
)
def test_options_that_clash(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(words)
    assert caught.value.problems == [line]


@pytest.mark.parametrize(
    "more", [["memory.size=null", "memory.bytes=4096"], ["memory.choice=reservoir", "memory.balanced=false"]]
)
def test_options_that_do_not(more: list[str]) -> None:
    assert load([*BASE, *more])["memory.name"] == "replay"


def test_what_images_of_other_sizes_take(monkeypatch: pytest.MonkeyPatch) -> None:
    larger = Samples(LABELS, 4 * IMAGE_BYTES, SAMPLES.features, SAMPLES.batches)
    assert len(fill(whole({"bytes": 20 * IMAGE_BYTES}), larger, SESSIONS)[0]) == 5
