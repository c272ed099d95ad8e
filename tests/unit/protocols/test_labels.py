"""Few labels among many images: the parts are disjoint, drawn class by class, nested, and leave other configs what they were."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.test_protocols import Twelve

from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.protocols._base import Session
from hdx.protocols.offline import Offline


def parts(dataset: Twelve, seed: int = 0, **options: object) -> tuple[np.ndarray, np.ndarray, np.ndarray, Session]:
    (session,) = Offline(**options).sessions(dataset, seed)  # type: ignore[arg-type]
    none = np.zeros(0, np.int64)
    found = [rows if rows is not None else none for rows in (session.train, session.unlabelled, session.validation)]
    return found[0], found[1], found[2], session


@settings(max_examples=40, deadline=None)
@given(
    per_class=st.integers(3, 40),
    labels=st.one_of(st.none(), st.floats(0, 1)),
    validation=st.one_of(st.just(0.0), st.floats(0.01, 0.6)),
    seed=st.integers(0, 9),
)
def test_the_parts_are_a_partition_class_by_class(per_class: int, labels: float | None, validation: float, seed: int) -> None:
    dataset = Twelve(per_class=per_class)
    train, unlabelled, held, session = parts(dataset, seed, labels=labels, validation=validation)
    everything = np.concatenate([train, unlabelled, held])
    assert sorted(everything) == list(range(12 * per_class))
    assert (session.unlabelled is None) == (labels is None) and (session.validation is None) == (validation == 0)
    for rows, share in ((held, validation), (train, labels)):
        counts = np.bincount(dataset.train.labels[rows], minlength=12)
        assert (counts == counts[0]).all()
        if share and rows is held:
            assert counts[0] == max(1, round(share * per_class))
        elif share is not None and rows is train:
            assert counts[0] == min(per_class - len(held) // 12, max(1, round(share * per_class)))


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    dataset = Twelve(per_class=100)
    shares = [parts(dataset, labels=share, validation=0.1) for share in (0.0, 0.01, 0.05, 0.1, 1.0)]
    for (few, _, held, _), (more, _, same, _) in zip(shares, shares[1:]):
        assert set(few) <= set(more) and np.array_equal(held, same)
    assert [len(each[0]) for each in shares] == [12, 12, 60, 120, 1080]
    assert len(shares[-1][1]) == 0


def test_the_draws_follow_the_seed_or_their_own() -> None:
    dataset = Twelve(per_class=40)
    one, other = (parts(dataset, seed, labels=0.1, validation=0.1) for seed in (0, 1))
    assert set(one[0]) != set(other[0]) and set(one[2]) != set(other[2])
    fixed = [parts(dataset, seed, labels=0.1, validation=0.1, label_seed=0) for seed in (0, 1)]
    assert all(np.array_equal(a, b) for a, b in zip(fixed[0][:3], fixed[1][:3]))
    assert np.array_equal(fixed[0][0], one[0])


def test_shots_are_drawn_beside_the_validation_rows() -> None:
    dataset = Twelve(per_class=10)
    train, _, held, session = parts(dataset, shots=4, validation=0.3)
    assert not set(train) & set(held) and len(train) == 48 and len(held) == 36
    assert session.unlabelled is None
    with pytest.raises(
        ConfigError, match=r"expected at most 7 \(training images of class 'c0' after those for validation\), got 8"
    ):
        parts(dataset, shots=8, validation=0.3)


def test_a_class_that_would_have_nothing_left_is_named() -> None:
    with pytest.raises(ConfigError, match="protocol.validation: class 'c0' has 1 training images and none would be left"):
        parts(Twelve(per_class=1), validation=0.1)


def test_without_them_nothing_changes() -> None:
    (session,) = Offline().sessions(Twelve(), 0)
    assert session.unlabelled is None and session.validation is None and len(session.train) == 72
    assert len(session.test) == 36 and session.seen_classes == tuple(range(12))


def test_what_is_said_of_them() -> None:
    (session,) = Offline(labels=0.5, validation=0.2).sessions(Twelve(per_class=10), 0)
    said = Offline().setting([session])
    assert said == "1 session, 60 labelled and 36 unlabelled images, 24 for validation"


def test_they_count_in_the_identity_only_where_they_are_given() -> None:
    plain, few = load(["protocol=offline"]), load(["protocol=offline", "protocol.labels=0.1"])
    assert plain.group_hash == "3ed330d9" != few.group_hash  # as without such options
    assert few.group_hash != load(["protocol=offline", "protocol.labels=0.1", "protocol.validation=0.1"]).group_hash


def test_few_labels_and_few_images_are_refused() -> None:
    with pytest.raises(ConfigError) as caught:
        load(["protocol=offline", "protocol.labels=0.1", "protocol.shots=5"])
    assert caught.value.problems == [
        "protocol.labels=0.1 and protocol.shots=5 both say how many labels there are: give one, and make the other null"
    ]
