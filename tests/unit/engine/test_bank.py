"""The features bank: each image once, right values, damage noticed, rows independent of their neighbours."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.body import Body
from hdx.datasets._base import Dataset
from hdx.engine.bank import Bank
from tests.unit.engine.conftest import make_body

CPU = torch.device("cpu")


def bank_at(root: Path, batch_size: int = 32, dtype: str = "float32") -> Bank:
    return Bank(root, batch_size, dtype, CPU)


def test_values_are_those_of_the_body(root: Path, body: Body, digits: Dataset) -> None:
    rows = np.array([5, 0, 17, 300])
    features = bank_at(root).get(body, body.digest(), digits.train, rows)
    expected = body.embed(digits.train.fetch(rows)).numpy()
    np.testing.assert_allclose(features, expected, atol=1e-5)


def test_every_image_is_forwarded_once(root: Path, body: Body, digits: Dataset) -> None:
    bank, digest, seen = bank_at(root), body.digest(), 0
    forwarded_rows: list[int] = []
    fetch = digits.train.fetch
    digits.train.fetch = lambda rows: (forwarded_rows.extend(rows.tolist()), fetch(rows))[1]  # type: ignore[method-assign]
    try:
        sessions = np.array_split(np.random.default_rng(0).permutation(200), 7)
        for number, rows in enumerate(sessions):
            later = np.concatenate([*sessions[number + 1 :], np.zeros(0, np.int64)])
            bank.get(body, digest, digits.train, rows, soon=later)
            seen += len(rows)
        bank.get(body, digest, digits.train, np.arange(200))
    finally:
        del digits.train.fetch  # type: ignore[method-assign]
    assert sorted(forwarded_rows) == list(range(200))
    assert bank.forwarded == seen == 200
    again = bank_at(root)
    again.get(body, digest, digits.train, np.arange(200))
    assert again.forwarded == 0


def test_only_what_is_wanted_is_forwarded(root: Path, body: Body, digits: Dataset) -> None:
    bank = bank_at(root)
    bank.get(body, body.digest(), digits.train, np.arange(10))
    assert bank.forwarded == 10
    bank.get(body, body.digest(), digits.train, np.arange(5), soon=np.arange(20))
    assert bank.forwarded == 10


def test_a_row_does_not_depend_on_its_neighbours_or_place(root: Path, body: Body, digits: Dataset) -> None:
    digest = body.digest()
    one = bank_at(root / "a").get(body, digest, digits.train, np.arange(64))
    other = bank_at(root / "b").get(body, digest, digits.train, np.random.default_rng(1).permutation(200)[:150])
    rows = np.random.default_rng(1).permutation(200)[:150]
    both = [row for row in rows if row < 64]
    place = {row: i for i, row in enumerate(rows)}
    np.testing.assert_array_equal(one[both], other[[place[row] for row in both]])


@pytest.mark.parametrize("damage", ["flip", "truncate", "forge"])
def test_damage_is_noticed_and_mended(
    damage: str, root: Path, body: Body, digits: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    rows, digest = np.arange(40), body.digest()
    good = bank_at(root).get(body, digest, digits.train, rows)
    file = next(root.rglob("features"))
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[4 * 192 * 3 + 7] ^= 0x10
    elif damage == "truncate":
        content = content[: len(content) // 2]
    else:
        content[: 4 * 192] = content[4 * 192 : 8 * 192]  # row 0 replaced by row 1
    file.write_bytes(bytes(content))
    bank = bank_at(root)
    with caplog.at_level(logging.WARNING, "hdx"):
        found = bank.get(body, digest, digits.train, rows)
    np.testing.assert_array_equal(found, good)
    assert bank.forwarded == (40 if damage == "truncate" else 1)
    assert "again" in caplog.text


def test_half_precision_halves_the_file(root: Path, body: Body, digits: Dataset) -> None:
    rows = np.arange(20)
    full = bank_at(root / "full").get(body, body.digest(), digits.train, rows)
    half = bank_at(root / "half", dtype="float16").get(body, body.digest(), digits.train, rows)
    np.testing.assert_array_equal(half, full.astype(np.float16).astype(np.float32))
    sizes = [next((root / name).rglob("features")).stat().st_size for name in ("full", "half")]
    assert sizes[0] == 2 * sizes[1]


def test_the_digest_names_the_state(digits: Dataset) -> None:
    shape = digits.train.image_shape
    body = make_body(shape)
    assert body.digest() == make_body(shape).digest()
    assert body.digest() != make_body(shape, seed=1).digest()
    assert body.digest() != make_body(shape, precision="bf16-mixed").digest()
    before = body.digest()
    norm = next(m for m in body.modules() if isinstance(m, torch.nn.BatchNorm2d))
    norm.num_batches_tracked += 1
    assert body.digest() == before
    norm.running_mean += 1e-6  # type: ignore[operator]
    assert body.digest() != before
