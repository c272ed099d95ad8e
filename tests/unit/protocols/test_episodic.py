"""The episodic protocol: its view, its one session, where episodes come from, and what it refuses before any work."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.config.validate import load
from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets.digits import Digits
from hdx.errors import ConfigError
from hdx.protocols.episodic import Episodic


class Numbered(ImageSet):
    """Image i is one pixel of value `first + i`."""

    image_shape = (1, 1, 1)

    def __init__(self, labels: np.ndarray, first: int) -> None:
        self.labels, self.first, self.digest = labels, first, f"{first}"

    def fetch(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(self.first + indices).to(torch.uint8).reshape(-1, 1, 1, 1)


class Small(Dataset):
    """Classes of the given numbers of train and test images, in mixed order."""

    licence = "CC0"

    def __init__(
        self,
        n_train: list[int],
        n_test: list[int],
        groups: list[str] | None = None,
        splits: dict[str, list[int]] | None = None,
    ) -> None:
        super().__init__(None, Path())
        self.classes = [f"c{i}" for i in range(len(n_train))]
        self.groups = groups
        if splits is not None:
            self.class_splits = {name: np.array(labels, np.int64) for name, labels in splits.items()}
        rng = np.random.default_rng(5)
        train, test = (rng.permutation(np.repeat(np.arange(len(counts)), counts)) for counts in (n_train, n_test))
        self.train, self.test = Numbered(train, 0), Numbered(test, 100)


def ten(n_train: int = 4, n_test: int = 3, **given: object) -> Small:
    return Small([n_train] * 10, [n_test] * 10, **given)  # type: ignore[arg-type]


PUBLISHED = {"base": [0, 2, 4, 6], "validation": [1, 3], "novel": [5, 7, 8, 9]}


def refusal(dataset: Dataset, **options: object) -> list[str]:
    """The lines by which sessions() refuses; episodes() says the same."""
    protocol = Episodic(**options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError) as error:
        protocol.sessions(protocol.view(dataset), 0)
    with pytest.raises(ConfigError) as again:
        protocol.episodes(protocol.view(dataset), 0)
    assert again.value.problems == error.value.problems
    assert all("\n" not in line for line in error.value.problems)
    return error.value.problems


def test_the_view_has_all_images_once() -> None:
    dataset = ten()
    view = Episodic().view(dataset)
    assert view.train is view.test and view.n_train == 40
    assert (view.classes, view.licence) == (dataset.classes, "CC0")
    np.testing.assert_array_equal(view.test.labels, np.concatenate([dataset.train.labels, dataset.test.labels]))
    values = view.test.fetch(np.arange(70)).flatten()
    assert values.tolist() == [*range(40), *range(100, 130)]
    assert Episodic().view(view) is view


@pytest.mark.parametrize(("train_on", "n_base"), [("base", 5), ("base_and_validation", 7)])
def test_one_session_of_the_drawn_base_classes(train_on: str, n_base: int) -> None:
    protocol = Episodic(ways=3, queries=2, base=5, validation=2, train_on=train_on)  # type: ignore[arg-type]
    view = protocol.view(ten())
    (session,) = protocol.sessions(view, 0)
    assert session.new_classes == session.seen_classes == tuple(sorted(session.new_classes))
    assert len(session.new_classes) == n_base
    labels = view.test.labels
    assert set(labels[session.train]) == set(session.new_classes) and len(session.train) == 7 * n_base
    assert len(session.test) == 21 and not set(labels[session.test]) & set(session.new_classes)
    (bucket,) = protocol.episodes(view, 0)
    assert set(bucket.classes.ravel()) == set(labels[session.test])
    assert {*bucket.support.ravel(), *bucket.query.ravel()} == set(session.test)


def test_drawn_splits_follow_the_split_seed_alone() -> None:
    def novel(seed: int, split_seed: int) -> set[int]:
        protocol = Episodic(ways=4, queries=2, split_seed=split_seed)
        view = protocol.view(ten())
        (session,) = protocol.sessions(view, seed)
        return {int(c) for c in view.test.labels[session.test]}

    assert len(novel(0, 0)) == 5  # half are base classes
    assert novel(0, 0) == novel(1, 0)
    assert len({frozenset(novel(0, split_seed)) for split_seed in range(5)}) > 1


@pytest.mark.parametrize("kind", ["base", "validation", "novel"])
def test_published_splits_are_used(kind: str) -> None:
    protocol = Episodic(ways=2, queries=2, episodes=60, classes=kind)  # type: ignore[arg-type]
    view = protocol.view(ten(splits=PUBLISHED))
    (session,) = protocol.sessions(view, 0)
    (bucket,) = protocol.episodes(view, 0)
    assert session.new_classes == (0, 2, 4, 6)
    assert sorted(set(bucket.classes.ravel())) == PUBLISHED[kind]


def test_a_dataset_of_novel_classes_alone() -> None:
    protocol = Episodic(ways=2, queries=2)
    view = protocol.view(ten(splits={"base": [], "validation": [], "novel": list(range(10))}))
    (session,) = protocol.sessions(view, 0)
    assert session.new_classes == () and len(session.train) == 0 and len(session.test) == 70
    (bucket,) = protocol.episodes(view, 0)
    assert len(bucket) == 1000


def test_support_from_the_train_split() -> None:
    protocol = Episodic(ways=4, shots=4, queries=3, support="train")
    view = protocol.view(ten())
    (bucket,) = protocol.episodes(view, 0)
    assert bucket.support.max() < view.n_train <= bucket.query.min()


def test_within_groups_uses_each_group_equally_often() -> None:
    groups = [f"g{i // 3}" for i in range(10)]  # g3 has one class, too few for two ways
    dataset = ten(groups=groups, splits={"base": [], "validation": [], "novel": list(range(10))})
    protocol = Episodic(ways=2, queries=2, episodes=300, within_groups=True)
    (bucket,) = protocol.episodes(protocol.view(dataset), 0)
    assert (bucket.classes // 3 == bucket.classes[:, :1] // 3).all()
    assert np.bincount(bucket.classes[:, 0] // 3).tolist() == [100, 100, 100]


def test_the_seed_of_the_episodes() -> None:
    view = Episodic().view(ten())

    def drawn(seed: int, **options: int | None) -> np.ndarray:
        return Episodic(ways=3, queries=2, episodes=20, **options).episodes(view, seed)[0].support  # type: ignore[arg-type]

    np.testing.assert_array_equal(drawn(3), drawn(0, episode_seed=3))
    np.testing.assert_array_equal(drawn(1, episode_seed=3), drawn(2, episode_seed=3))
    assert not np.array_equal(drawn(0), drawn(1))


def test_on_digits(tmp_path: Path) -> None:
    protocol = Episodic(ways=4, shots=5, episodes=50)
    view = protocol.view(Digits(None, tmp_path))
    (session,) = protocol.sessions(view, 0)
    (bucket,) = protocol.episodes(view, 0)
    assert len(view.test) == 1797
    assert (bucket.support.shape, bucket.query.shape) == ((50, 20), (50, 60))
    assert view.test.fetch(bucket.support[0]).shape == (20, 1, 8, 8)
    assert protocol.setting([session]) == "4-way 5-shot, 50 episodes"
    assert Episodic(ways=None, shots=None).setting([session]) == "variable-way variable-shot, 1,000 episodes"


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"base": 6, "queries": 2}, ["protocol.ways", "the dataset has 4 novel classes, got 5; use at most 4"]),
        ({"ways": 1, "queries": 2}, ["protocol.ways", "expected at least 2, got 1"]),
        (
            {"ways": None, "base": 6, "queries": 2},
            ["protocol.ways=null draws 5 or more classes, and the dataset has 4 novel classes; give a number"],
        ),
        (
            {"ways": 2, "base": 9, "queries": 2},
            ["protocol.classes=novel", "an episode needs at least 2 classes, and the dataset has 1 novel class"],
        ),
        (
            {"ways": 2, "base": 8, "validation": 2},
            ["protocol.base", "expected base + validation < 10 (classes of the dataset), got 8 + 2, which leaves no novel class"],
        ),
        (
            {"ways": 2, "base": 10},
            [
                "protocol.base",
                "expected base + validation < 10 (classes of the dataset), got 10 + 0, which leaves no novel class",
            ],
        ),
        (
            {"ways": 2, "queries": 2, "classes": "validation"},
            ["protocol.classes=validation", "there are 0 validation classes; give protocol.validation=…"],
        ),
        (
            {"ways": 2, "queries": 2, "within_groups": True},
            ["protocol.within_groups", "the classes of this dataset have no groups (omniglot's have alphabets); use false"],
        ),
        (
            {"ways": 2, "queries": 2, "classes": "validation", "validation": 2, "train_on": "base_and_validation"},
            ["protocol.train_on", "classes=validation are to be new to the body, so use train_on=base"],
        ),
        (
            {"ways": 2, "queries": 2, "classes": "base", "joint": True},
            ["protocol.joint", "classes=base are the base classes themselves; use joint=false or classes=novel"],
        ),
    ],
)
def test_refusals(options: dict[str, object], expected: list[str]) -> None:
    assert refusal(ten(), **options) == [": ".join(expected)]


def test_too_few_images_names_the_smallest_class() -> None:
    novel = {"base": [0], "validation": [], "novel": [1, 2, 3]}
    dataset = Small([9, 4, 3, 4], [9, 4, 2, 1], splits=novel)
    (line,) = refusal(dataset, ways=2, shots=3, queries=3)
    assert line == (
        "protocol.shots=3 + protocol.queries=3: expected at most 5 (images of novel class 'c2'), got 6; 2 of 3 classes have fewer"
    )
    lines = refusal(dataset, ways=2, shots=4, queries=2, support="train")
    assert lines == [
        "protocol.shots=4: expected at most 3 (training images of novel class 'c2'), got 4",
        "protocol.queries=2: expected at most 1 (test images of novel class 'c3'), got 2",
    ]


def test_a_class_without_images() -> None:
    dataset = Small([2, 2, 0, 2, 0], [2, 2, 0, 2, 0], splits={"base": [2, 1], "validation": [], "novel": [0, 3, 4]})
    assert refusal(dataset, ways=2, queries=2) == [
        "base class 'c2' has no images: fill or remove it",
        "novel class 'c4' has no images, so no episode can be drawn of it: fill or remove it",
    ]
    assert "novel class 'c4' has no images" in refusal(dataset, ways=2, shots=None)[1]
    (line,) = refusal(Small([2, 1, 1], [2, 1, 0], splits={"base": [], "validation": [], "novel": [0, 1, 2]}), ways=2, shots=None)
    assert line == (
        "protocol.shots=null needs an image for the support and one for a query: "
        "expected at most 1 (images of novel class 'c2'), got 2"
    )


def test_groups_that_are_too_small_and_splits_that_are_given() -> None:
    dataset = ten(groups=[f"g{i % 5}" for i in range(10)], splits=PUBLISHED)
    lines = refusal(dataset, ways=3, queries=2, within_groups=True, base=3, validation=1)
    split = "the dataset has a published split of its classes (4 base + 2 validation + 4 novel)"
    assert lines == [
        f"protocol.base: {split}, got 3; leave it at its default",
        f"protocol.validation: {split}, got 1; leave it at its default",
        "protocol.classes=novel: an episode needs at least 2 classes, and the largest group has 1 novel class",
    ]
    pairs = ten(groups=[f"g{i // 3}" for i in range(10)], splits=PUBLISHED)
    (line,) = refusal(pairs, ways=3, queries=2, within_groups=True)
    assert line == "protocol.ways: the largest group has 2 novel classes, got 3; use at most 2"


def test_no_base_classes_to_score_against() -> None:
    dataset = ten(splits={"base": [], "validation": [], "novel": list(range(10))})
    (line,) = refusal(dataset, ways=2, queries=2, joint=True)
    assert line == "protocol.joint: the dataset has 0 base classes to score against; use joint=false"


def test_everything_wrong_is_said_at_once() -> None:
    lines = refusal(ten(), ways=11, shots=8, queries=5, within_groups=True)
    assert [line.split(":")[0] for line in lines] == [
        "protocol.within_groups",
        "protocol.ways",
        "protocol.shots=8 + protocol.queries=5",
    ]


def test_the_working_memory_is_no_part_of_what_a_run_is() -> None:
    one, other, third = (load(["protocol=episodic", *words]) for words in ([], ["protocol.memory_mb=64"], ["protocol.shots=5"]))
    assert one.group_hash == other.group_hash != third.group_hash
