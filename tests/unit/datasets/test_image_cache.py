from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from hdx.datasets._cache import Decoded, load_or_build


class Counting:
    """Builds the same images each time and counts how often."""

    def __init__(self) -> None:
        self.calls = 0
        self.images = np.random.default_rng(0).integers(0, 256, (7, 3, 5, 5), dtype=np.uint8)

    def __call__(self) -> Decoded:
        self.calls += 1
        return Decoded(self.images, {"classes": ["a", "b"]})


def test_built_once_and_mapped_afterwards(cache_dir: Path) -> None:
    build = Counting()
    first, second = (load_or_build(cache_dir, "k", build) for _ in range(2))
    assert build.calls == 1
    assert isinstance(second.images, np.memmap)
    assert np.array_equal(second.images, build.images)
    assert second.facts == {"classes": ["a", "b"]}
    assert first.checksum == second.checksum
    assert sorted(file.name for file in cache_dir.iterdir()) == ["k.json", "k.npy"]


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[-3] ^= 1
    file.write_bytes(data)


def other_facts(file: Path) -> None:
    record = json.loads(file.with_suffix(".json").read_text())
    record["facts"]["classes"] = ["b", "a"]
    file.with_suffix(".json").write_text(json.dumps(record))


DAMAGE = {
    "bit": flip_a_bit,
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "empty": lambda file: file.write_bytes(b""),
    "missing pixels": lambda file: file.unlink(),
    "not json": lambda file: file.with_suffix(".json").write_text("{"),
    "other json": lambda file: file.with_suffix(".json").write_text("[1]"),
    "facts": other_facts,
    "other shape": lambda file: np.save(file, np.zeros((2, 3, 5, 5), dtype=np.uint8)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_noticed_and_repaired(cache_dir: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    build = Counting()
    load_or_build(cache_dir, "k", build)
    DAMAGE[damage](cache_dir / "k.npy")
    with caplog.at_level(logging.WARNING, "hdx"):
        repaired = load_or_build(cache_dir, "k", build)
    assert np.array_equal(repaired.images, build.images)
    assert build.calls == 2
    assert "damaged" in caplog.text
    load_or_build(cache_dir, "k", build)
    assert build.calls == 2


def test_a_pickle_in_the_cache_is_not_run(cache_dir: Path, tmp_path: Path) -> None:
    build, witness = Counting(), tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return Path.touch, (witness,)

    load_or_build(cache_dir, "k", build)
    np.save(cache_dir / "k.npy", np.array([Payload()], dtype=object), allow_pickle=True)
    load_or_build(cache_dir, "k", build)
    assert build.calls == 2
    assert not witness.exists()


def test_a_folder_that_cannot_be_written_costs_the_cache_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    build = Counting()
    with caplog.at_level(logging.WARNING, "hdx"):
        decoded = load_or_build(tmp_path / "file" / "cache", "k", build)
    assert np.array_equal(decoded.images, build.images)
    assert "cannot cache decoded images" in caplog.text


def test_several_builders_at_once_agree(cache_dir: Path) -> None:
    barrier, results = threading.Barrier(4), []

    def work() -> None:
        build = Counting()

        def together() -> Decoded:
            barrier.wait(10)
            return build()

        results.append(load_or_build(cache_dir, "k", together).images)

    threads = [threading.Thread(target=work) for _ in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    build = Counting()
    assert np.array_equal(load_or_build(cache_dir, "k", build).images, build.images)
    assert build.calls == 0
    assert len(results) == 4
    assert sorted(file.name for file in cache_dir.iterdir()) == ["k.json", "k.npy"]
