from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from hdx.datasets._decode import n_cores
from hdx.datasets._stream import Streamed
from hdx.datasets._worker import workers
from hdx.datasets.folder import Folder
from hdx.errors import DataError

CPU = torch.device("cpu")


def parts_of(n: int, size: int) -> list[np.ndarray]:
    return np.array_split(np.random.default_rng(0).permutation(n), n // size)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_streamed_equals_in_memory_bitwise(
    make_tree: Callable[..., Path], zipped: Callable[[Path], Path], cache_dir: Path, kind: str
) -> None:
    root = make_tree("x", {"a": 30, "b": 25, "c": 11}, size=(30, 26))
    path = str(root if kind == "folder" else zipped(root))
    memory = Folder(None, cache_dir, path=path, image_size=16)
    disk = Folder(None, cache_dir, path=path, image_size=16, storage="disk")
    assert isinstance(disk.train, Streamed)
    assert disk.train.image_shape == memory.train.image_shape == (3, 16, 16)
    for one, two in ((memory.train, disk.train), (memory.test, disk.test)):
        assert np.array_equal(one.labels, two.labels)
        assert torch.equal(one.fetch(np.arange(len(one))), two.fetch(np.arange(len(two))))
    parts = [*parts_of(len(memory.train), 5), np.array([], dtype=np.int64)]
    for expected, got in zip(memory.train.batches(parts, CPU), disk.train.batches(parts, CPU), strict=True):
        assert torch.equal(expected, got)


def test_auto_streams_what_is_larger_than_memory_gb(make_tree: Callable[..., Path], cache_dir: Path) -> None:
    path = str(make_tree("x", {"a": 10, "b": 10}))
    n_bytes = 20 * 3 * 8 * 8
    at = Folder(None, cache_dir, path=path, image_size=8, memory_gb=n_bytes / 1e9)
    below = Folder(None, cache_dir, path=path, image_size=8, memory_gb=(n_bytes - 1) / 1e9)
    assert not isinstance(at.train, Streamed)
    assert isinstance(below.train, Streamed)


def test_digest_is_stable_and_follows_files_and_options(make_tree: Callable[..., Path], cache_dir: Path) -> None:
    root = make_tree("x", {"a": 10, "b": 10})

    def digest(**options: object) -> str:
        return Folder(None, cache_dir, path=str(root), storage="disk", **options).train.digest

    first = digest()
    assert digest() == first
    assert len({first, digest(image_size=32), digest(fit="pad"), digest(split_seed=1), digest(colour="grey")}) == 5
    os.utime(root / "a" / "000.jpg", ns=(1, 1))
    assert digest() == first
    (root / "a" / "000.jpg").write_bytes((root / "a" / "001.jpg").read_bytes())
    assert digest() != first


def test_a_damaged_file_is_named_by_the_parent(make_tree: Callable[..., Path], cache_dir: Path) -> None:
    root = make_tree("x", {"a": 10, "b": 10})
    data = Folder(None, cache_dir, path=str(root), storage="disk")
    (root / "a" / "003.jpg").write_bytes((root / "a" / "003.jpg").read_bytes()[:300])
    everything = [np.arange(len(data.train)), np.arange(len(data.test))]
    with pytest.raises(DataError, match=r"a/003\.jpg"):
        list(data.train.batches(everything[:1], CPU)) + list(data.test.batches(everything[1:], CPU))


def test_parts_are_asked_for_only_as_far_ahead_as_workers_read(make_tree: Callable[..., Path], cache_dir: Path) -> None:
    data = Folder(None, cache_dir, path=str(make_tree("x", {"a": 10, "b": 10})), storage="disk")
    asked = []

    def endless() -> Iterator[np.ndarray]:
        while True:
            asked.append(1)
            yield np.arange(2)

    batches = data.train.batches(endless(), CPU)
    for _ in range(3):
        assert next(batches).shape == (2, 3, 64, 64)
    batches.close()
    assert len(asked) == 2 * n_cores() + 3


def test_two_readers_at_once_and_one_left_early(make_tree: Callable[..., Path], cache_dir: Path) -> None:
    data = Folder(None, cache_dir, path=str(make_tree("x", {"a": 20, "b": 20})), storage="disk").train
    parts = parts_of(len(data), 4)
    next(data.batches(parts, CPU))
    for one, two, part in zip(data.batches(parts, CPU), data.batches(parts, CPU), parts, strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, data.fetch(part))


def test_a_killed_worker_is_an_error_and_the_next_pass_works(make_tree: Callable[..., Path], cache_dir: Path) -> None:
    data = Folder(None, cache_dir, path=str(make_tree("x", {"a": 10, "b": 10})), storage="disk").train
    pid = workers().submit(os.getpid).result()
    workers().submit(os.kill, pid, signal.SIGKILL)
    with pytest.raises(DataError, match="died"):
        list(data.batches([np.arange(4)] * 50, CPU))
    (again,) = data.batches([np.arange(4)], CPU)
    assert torch.equal(again, data.fetch(np.arange(4)))


PARENT = """
import os, sys, time
from hdx.datasets._worker import workers
if __name__ == "__main__":
    assert "torch" not in sys.modules
    print(workers().submit(os.getpid).result(), flush=True)
    time.sleep(60)
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    status = Path(f"/proc/{pid}/stat")
    return not (status.exists() and status.read_text().rpartition(")")[2].split()[0] == "Z")


def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        assert alive(worker)
        parent.kill()
    end = time.monotonic() + 10
    while alive(worker) and time.monotonic() < end:
        time.sleep(0.05)
    assert not alive(worker)
