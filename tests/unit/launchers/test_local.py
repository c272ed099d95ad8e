"""Workers and threads of this machine, GPUs shared out."""

from __future__ import annotations

import pytest

from hdx.errors import ConfigError
from hdx.launchers._base import Task
from hdx.launchers.local import bodies_to_train, seats_of, shares_of, visible_gpus


@pytest.mark.parametrize(
    ("workers", "threads", "gpus", "ranks", "cores", "expected"),
    [
        (None, None, 0, 1, 2, (2, 1)),
        (None, None, 0, 1, 1, (1, 1)),
        (None, None, 0, 1, 64, (8, 8)),
        (None, 2, 0, 1, 64, (32, 2)),
        (3, None, 0, 1, 16, (3, 5)),
        (4, 3, 0, 1, 2, (4, 3)),
        (None, None, 0, 2, 8, (4, 1)),
        (None, None, 8, 1, 64, (8, 8)),
        (None, None, 8, 4, 64, (2, 8)),
        (16, None, 8, 1, 64, (16, 4)),
    ],
)
def test_seats(workers: int, threads: int, gpus: int, ranks: int, cores: int, expected: tuple[int, int]) -> None:
    assert seats_of(workers, threads, [str(i) for i in range(gpus)], ranks, cores) == expected


def task(body: str, method: str) -> Task:
    return Task(body, f"/runs/{body}", {"data": {"method": {"name": method}}}, body=body, shares=method != "finetune")


def test_one_body_to_train_gets_all_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hdx.launchers.local.cores", lambda: 4)
    assert bodies_to_train([task("a", "first_session")] * 5) == 1
    assert bodies_to_train([task("a", "first_session"), task("b", "frozen")]) == 2
    assert bodies_to_train([task(str(i), "first_session") for i in range(4)]) is None  # enough of them for the cores
    assert bodies_to_train([task("a", "frozen")] * 5) is None  # solves on cached features run side by side
    assert bodies_to_train([task("a", "first_session"), task("b", "finetune")]) is None


def test_gpus_are_shared_out() -> None:
    assert shares_of(["0", "1", "2"], 1, 3) == ["0", "1", "2"]
    assert shares_of(["0", "1"], 1, 4) == ["0", "1", "0", "1"]
    assert shares_of(["2", "3", "6", "7"], 2, 2) == ["2,3", "6,7"]
    assert shares_of([], 1, 2) == ["", ""]
    with pytest.raises(ConfigError, match="expected at most 2 GPUs"):
        shares_of(["0", "1"], 4, 1)


@pytest.mark.parametrize(
    ("value", "expected"), [("2,3", ["2", "3"]), ("", []), ("-1", []), ("GPU-ab, MIG-c", ["GPU-ab", "MIG-c"])]
)
def test_what_the_environment_allows(value: str, expected: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    assert visible_gpus() == expected
