"""Few-shot class-incremental: many images of the base classes, few of the others, everything seen is tested."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.config.validate import load
from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import ConfigError
from hdx.protocols.class_incremental import ClassIncremental
from hdx.protocols.few_shot_class_incremental import FewShotClassIncremental


class Labels(ImageSet):
    """A split of which a protocol sees the labels only; fetching from it is an error."""

    def __init__(self, labels: np.ndarray) -> None:
        self.labels = labels

    def fetch(self, indices: np.ndarray):  # type: ignore[no-untyped-def]
        raise AssertionError("a protocol must not look at images")


class Counted(Dataset):
    """`per_class` training and 3 test images of each class; `smallest` training images of the last class."""

    licence = "none"

    def __init__(self, n_classes: int = 12, per_class: int = 6, smallest: int | None = None) -> None:
        super().__init__(None, Path())
        self.classes = [f"c{i}" for i in range(n_classes)]
        rng = np.random.default_rng(5)
        counts = [*[per_class] * (n_classes - 1), per_class if smallest is None else smallest]
        self.train = Labels(rng.permutation(np.repeat(np.arange(n_classes), counts)))
        self.test = Labels(rng.permutation(np.repeat(np.arange(n_classes), 3)))


@settings(max_examples=30, deadline=None)
@given(
    base=st.integers(1, 8),
    step=st.integers(1, 4),
    shots=st.integers(1, 6),
    base_shots=st.one_of(st.none(), st.integers(1, 6)),
    later=st.one_of(st.none(), st.integers(1, 2)),
    seed=st.integers(0, 50),
)
def test_what_comes_when(base: int, step: int, shots: int, base_shots: int | None, later: int | None, seed: int) -> None:
    dataset = Counted()
    most = -(-(12 - base) // step)
    n_later = min(later or most, most)
    protocol = FewShotClassIncremental(base=base, step=step, shots=shots, base_shots=base_shots, sessions=later and n_later)
    sessions = protocol.sessions(dataset, seed)
    sizes = [base, *[step] * (most - 1), 12 - base - step * (most - 1)][: n_later + 1]
    assert [len(s.new_classes) for s in sessions] == sizes
    arrived = [c for s in sessions for c in s.new_classes]
    assert arrived == np.random.RandomState(seed).permutation(12)[: sum(sizes)].tolist()  # noqa: NPY002 - the toolboxes' order
    every = np.concatenate([s.train for s in sessions])
    assert len(np.unique(every)) == len(every)
    for s in sessions:
        assert s.seen_classes == tuple(arrived[: len(s.seen_classes)])
        wanted = (base_shots or 6) if s.index == 0 else shots
        assert np.bincount(dataset.train.labels[s.train], minlength=12).tolist() == [
            wanted if c in s.new_classes else 0 for c in range(12)
        ]
        assert s.test.tolist() == [i for i, c in enumerate(dataset.test.labels) if c in s.seen_classes]
    again = protocol.sessions(dataset, seed)
    assert all(np.array_equal(a.train, b.train) and np.array_equal(a.test, b.test) for a, b in zip(sessions, again))


@pytest.mark.parametrize(
    ("n_classes", "sizes"),
    [(100, [60, *[5] * 8]), (423, [253, *[21] * 8, 2]), (10, [6, 2, 2]), (3, [1, 2]), (2, [1, 1])],
)
def test_the_default_is_60_percent_and_then_eighths_of_the_rest(n_classes: int, sizes: list[int]) -> None:
    assert [len(s.new_classes) for s in FewShotClassIncremental().sessions(Counted(n_classes), 0)] == sizes


def test_the_shots_and_order_are_those_of_class_incremental() -> None:
    few = FewShotClassIncremental(base=4, step=4, base_shots=2, shots=2).sessions(Counted(), 7)
    same = ClassIncremental(step=4, shots=2).sessions(Counted(), 7)
    assert all(np.array_equal(a.train, b.train) and a.new_classes == b.new_classes for a, b in zip(few, same))


def test_seeds_are_separate() -> None:
    def drawn(seed: int = 3, **options: int) -> tuple[list[int], list[int]]:
        sessions = FewShotClassIncremental(base=4, step=4, shots=2, base_shots=2, **options).sessions(Counted(), seed)
        return [c for s in sessions for c in s.new_classes], sorted(np.concatenate([s.train for s in sessions]).tolist())

    order, shots = drawn(order_seed=0, shot_seed=0)
    assert drawn(order_seed=1, shot_seed=0)[1] == shots != drawn(order_seed=0, shot_seed=1)[1]
    assert drawn(order_seed=0, shot_seed=1)[0] == order != drawn(order_seed=1, shot_seed=0)[0]
    assert drawn(seed=9, order_seed=0, shot_seed=0) == (order, shots)


@pytest.mark.parametrize(
    ("dataset", "options", "words"),
    [
        (Counted(), {"base": 10, "step": 3}, "protocol.base 10 + protocol.step 3: 13 classes are needed, the dataset has 12"),
        (Counted(), {"step": 9}, r"protocol.base 7 \(60 %\) \+ protocol.step 9: 16 classes are needed, the dataset has 12"),
        (Counted(1), {}, r"protocol.base 1 \(60 %\) \+ protocol.step 1: 2 classes are needed, the dataset has 1"),
        (Counted(), {"base": 12}, "13 classes are needed, the dataset has 12"),
        (Counted(), {"shots": 7}, "protocol.shots: expected at most 6 .*class 'c0'.*, got 7"),
        (Counted(smallest=4), {}, "protocol.shots: expected at most 4 .*class 'c11'.*, got 5"),
        (Counted(smallest=0), {"shots": 1}, "protocol.shots: expected at most 0 .*class 'c11'.*, got 1"),
        (Counted(), {"base_shots": 7}, "protocol.base_shots: expected at most 6 .*, got 7"),
        (
            Counted(),
            {"base": 6, "step": 4, "sessions": 3},
            r"protocol.sessions: expected at most 2 \(6 classes after the base, 4 at a time\), got 3",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(dataset: Dataset, options: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words.replace(" + p", r" \+ p")) as caught:
        FewShotClassIncremental(**options).sessions(dataset, 0)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


def test_sizes_beside_lists_are_refused_before_any_work() -> None:
    words = ["protocol=few_shot_class_incremental", "protocol.lists=cub200"]
    assert load([*words, "protocol.sessions=3", "protocol.train_seed=1"])["protocol.lists"] == "cub200"
    with pytest.raises(
        ConfigError, match="protocol.lists=cub200 says .* leave out protocol.base=100 and protocol.shots=1, or lists"
    ):
        load([*words, "protocol.base=100", "protocol.shots=1"])
