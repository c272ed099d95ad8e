"""Domain-incremental: the same classes and images in every session, in another domain; test images count for their domain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.protocols.streams import Counted

from hdx.datasets.digits import Digits
from hdx.errors import ConfigError
from hdx.protocols.domain_incremental import DomainIncremental

COUNTS = [4, 6, 5]


@settings(max_examples=30, deadline=None)
@given(
    domains=st.sampled_from([("rotations", 4), ("corruptions", 5)]),
    n=st.one_of(st.none(), st.integers(1, 4)),
    shots=st.one_of(st.none(), st.integers(1, 4)),
    seed=st.integers(0, 50),
)
def test_the_laws_of_domains(domains: tuple[Any, int], n: int | None, shots: int | None, seed: int) -> None:
    (kind, n_domains), dataset = domains, Counted(COUNTS)
    protocol = DomainIncremental(domains=kind, sessions=n, shots=shots)
    view = protocol.view(dataset)
    sessions = protocol.sessions(view, seed)
    assert (len(view.train), len(view.test), len(sessions)) == (15 * n_domains, 6 * n_domains, n or n_domains)
    came = []
    for index, session in enumerate(sessions):
        assert (session.index, session.seen_classes, session.present_classes) == (index, (0, 1, 2), (0, 1, 2))
        assert session.new_classes == (() if index else (0, 1, 2))
        domain = np.unique(session.train // 15)
        assert len(domain) == 1
        came.append(int(domain[0]))
        np.testing.assert_array_equal(session.train % 15, sessions[0].train)  # the same images
        counts = np.bincount(view.train.labels[session.train])
        assert counts.tolist() == (COUNTS if shots is None else [shots] * 3)
        assert len(session.test) == len(np.unique(session.test)) == 6 * (index + 1)
        assert session.test_group is not None
        np.testing.assert_array_equal(session.test // 6, np.array(came)[session.test_group])
    assert came[0] == 0 and len(set(came)) == len(came)


def test_the_order_of_later_domains_is_that_of_its_seed() -> None:
    def order(**options: Any) -> tuple[int, ...]:
        protocol = DomainIncremental(domains="corruptions", **options)
        return tuple(int(session.train[0] // 15) for session in protocol.sessions(protocol.view(Counted(COUNTS)), 2))

    assert order() == order(order_seed=2)
    assert len({order(order_seed=seed) for seed in range(8)}) > 3


def test_the_images_of_a_domain_are_the_datasets_turned(tmp_path: Path) -> None:
    digits = Digits(None, tmp_path)
    view = DomainIncremental().view(digits)
    assert DomainIncremental().view(view) is view and view.domains == ["0 degrees", "90 degrees", "180 degrees", "270 degrees"]
    rows = np.array([5, 100, 538])
    plain = digits.test.fetch(rows).numpy()
    for domain in range(4):
        found = view.test.fetch(domain * 539 + rows).numpy()
        np.testing.assert_array_equal(found, np.rot90(plain, domain, axes=(2, 3)))
        assert view.test.labels[domain * 539 + rows].tolist() == digits.test.labels[rows].tolist()


def test_corrupted_domains_of_digits(tmp_path: Path) -> None:
    digits = Digits(None, tmp_path)
    view = DomainIncremental(domains="corruptions").view(digits)
    assert view.domains == ["original", "inversion", "noise", "contrast", "brightness"]
    row = np.array([3])
    assert torch.equal(view.train.fetch(row), digits.train.fetch(row))
    assert torch.equal(view.train.fetch(1258 + row), 255 - digits.train.fetch(row))
    train, test = (
        split.fetch(2 * n + row).short() - split.fetch(row).short() for split, n in ((view.train, 1258), (view.test, 539))
    )
    assert not torch.equal(train, test)  # train and test have noise of their own


@pytest.mark.parametrize(
    ("options", "shape", "words"),
    [
        ({"sessions": 5}, (1, 4, 4), r"protocol.sessions: expected at most 4 \(domains by rotations\), got 5"),
        ({"domains": "corruptions", "sessions": 6}, (1, 4, 4), r"at most 5 \(domains by corruptions\), got 6"),
        ({}, (3, 4, 6), "expected square images, the dataset's are 4 x 6: take protocol.domains=corruptions"),
        ({"shots": 5}, (1, 4, 4), "protocol.shots: expected at most 4"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_numbers(options: Any, shape: tuple[int, int, int], words: str) -> None:
    protocol = DomainIncremental(**options)
    with pytest.raises(ConfigError, match=words):
        protocol.sessions(protocol.view(Counted(COUNTS, shape)), 0)


def test_images_that_are_not_square_can_be_corrupted() -> None:
    protocol = DomainIncremental(domains="corruptions")
    assert len(protocol.sessions(protocol.view(Counted(COUNTS, (3, 4, 6))), 0)) == 5
