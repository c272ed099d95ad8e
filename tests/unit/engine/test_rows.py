"""Rows on disk that several processes write, one of which is killed."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest

from hdx.engine._rows import Rows

N, WIDTH = 4000, 24
DTYPE = np.dtype(np.uint16)
VALUES = np.random.default_rng(0).integers(0, 1 << 16, (N, WIDTH), np.uint16)
fork = multiprocessing.get_context("fork")


def rows_at(folder: Path) -> Rows:
    files = (folder, "values", (N, WIDTH), DTYPE, "store")
    Rows.prepare(*files)
    return Rows(*files)


def fill(folder: Path, seed: int, forever: bool = False) -> None:
    """Write all rows, in an order of its own and in small parts."""
    rows, rng = rows_at(folder), np.random.default_rng(seed)
    while True:
        for part in np.array_split(rng.permutation(N), 400):
            rows.write(part, VALUES[part])
        if not forever:
            return


def test_processes_that_fill_it_at_once_write_the_same(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workers = [fork.Process(target=fill, args=(tmp_path / "entry", seed)) for seed in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    rows = rows_at(tmp_path / "entry")
    assert rows.valid(np.arange(N)).all() and not caplog.records
    np.testing.assert_array_equal(rows.rows, VALUES)
    assert sorted(path.name for path in (tmp_path / "entry").iterdir()) == ["sums", "values"]


def test_what_a_killed_process_leaves_is_whole_or_not_there(tmp_path: Path) -> None:
    worker = fork.Process(target=fill, args=(tmp_path / "entry", 0, True))
    worker.start()
    time.sleep(0.3)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(30)
    rows = rows_at(tmp_path / "entry")
    there = rows.valid(np.arange(N))
    assert there.any()
    np.testing.assert_array_equal(rows.rows[there], VALUES[there])


def test_a_second_process_keeps_the_rows_of_the_first(tmp_path: Path) -> None:
    one, other = rows_at(tmp_path), rows_at(tmp_path)
    one.write(np.array([3, 5]), VALUES[[3, 5]])
    assert other.valid(np.array([3, 4, 5])).tolist() == [True, False, True]
    (tmp_path / "sums").unlink()  # killed between the two files
    assert not rows_at(tmp_path).valid(np.array([3])).any()


def test_files_of_another_size_are_made_anew(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows_at(tmp_path).write(np.arange(N), VALUES)
    os.truncate(tmp_path / "values", 100)
    with caplog.at_level(logging.WARNING, "hdx"):
        rows = rows_at(tmp_path)
    assert "store" in caplog.text and "expected files of" in caplog.text and "again" in caplog.text
    assert not rows.valid(np.arange(N)).any()
