"""Distillation on two ranks: each asks the teacher about its own share, and what is kept serves both."""

from __future__ import annotations

from pathlib import Path

import pytest
from scripts.bench.kill import differences, results

from tests.dist.test_ranks import on_two
from tests.integration.harness import run_dir_of, train
from tests.integration.test_teacher_cache_runs import STORED, TEACHER, words

pytestmark = [pytest.mark.dist, pytest.mark.slow]


def test_cached_and_live_end_bit_equal_on_two_ranks(tmp_path: Path) -> None:
    train(tmp_path, *TEACHER)
    found = []
    for more, asked in (("teacher.cache=false",), 4 * 120), (("teacher.cache=true",), 2 * 120), ((), 0):
        record = on_two(tmp_path, *words(*STORED, *more), "--force")
        assert (record["ranks"], record["teacher_images"]) == (2, asked)
        found.append(results(run_dir_of(record).path))
    assert differences(found[0], found[1]) == differences(found[0], found[2]) == []
