"""`hdx compare`: two runs, two groups, and what has no answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats
from tests.run_dirs import write_run

Inside = Callable[..., tuple[int, str, str]]
Document = Callable[..., Any]
A, B = [0.50, 0.55, 0.61, 0.52], [0.62, 0.60, 0.70, 0.66, 0.9]


@pytest.fixture
def groups(tmp_path: Path) -> str:
    for seed, acc in enumerate(A):
        write_run(tmp_path, f"fsa_na/aaaaaaaa-s{seed}", acc=acc)
    for seed, acc in enumerate(B):
        write_run(tmp_path, f"fsa_na/bbbbbbbb-s{seed}", acc=acc, ridge=2.0, head="lda_within")
    write_run(tmp_path, "fsa_na/cccccccc-s0", "failed")
    return f"output_dir={tmp_path}"


def test_groups_are_compared_over_shared_seeds(groups: str, document: Document, inside: Inside) -> None:
    found = document("compare", "fsa_na/aaaaaaaa", "bbbbbbbb", groups)
    assert found["config"] == [{"key": "head", "a": "lda", "b": "lda_within"}, {"key": "head.ridge", "a": 1.0, "b": 2.0}]
    assert (found["a"]["seeds"], found["b"]["seeds"]) == ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    acc = next(entry for entry in found["metrics"] if entry["metric"] == "acc_last")
    low, high = stats.t.interval(0.95, len(A) - 1, loc=np.mean(A), scale=stats.sem(A))
    assert acc["a"] == {"mean": pytest.approx(np.mean(A)), "half": pytest.approx((high - low) / 2), "n": 4}
    test = stats.ttest_rel(B[:4], A)
    assert acc["paired"] and acc["p"] == pytest.approx(test.pvalue) and acc["difference"]["n"] == 4
    interval = test.confidence_interval(0.95)
    assert acc["difference"]["mean"] == pytest.approx(np.mean(np.subtract(B[:4], A)))
    assert acc["difference"]["half"] == pytest.approx((interval.high - interval.low) / 2)
    text = inside("compare", "fsa_na/aaaaaaaa", "fsa_na/bbbbbbbb", groups)[1]
    assert (
        f"{100 * np.mean(A):.2f} ± {50 * (high - low):.2f}" in text
        and "B - A over the 4 seeds that both have" in text
        and "head.ridge" in text
    )


def test_runs_are_compared_without_interval(groups: str, document: Document, inside: Inside) -> None:
    found = document("compare", "fsa_na/aaaaaaaa-s0", "fsa_na/bbbbbbbb-s1", groups)
    acc = next(entry for entry in found["metrics"] if entry["metric"] == "acc_last")
    assert acc["a"] == {"mean": 0.5, "half": None, "n": 1} and acc["p"] is None and not acc["paired"]
    assert acc["difference"]["mean"] == pytest.approx(0.10)
    text = inside("compare", "fsa_na/aaaaaaaa-s0", "fsa_na/bbbbbbbb-s1", groups)[1]
    assert "+10.00" in text and "±" not in text
    assert "the configs are the same" in inside("compare", "fsa_na/aaaaaaaa-s0", "fsa_na/aaaaaaaa-s1", groups)[1]


def test_two_seeds_give_n_instead_of_an_interval(groups: str, tmp_path: Path, inside: Inside) -> None:
    for seed, acc in enumerate((0.25, 0.75)):
        write_run(tmp_path, f"x/dddddddd-s{seed}", acc=acc)
    text = inside("compare", "x/dddddddd", "fsa_na/bbbbbbbb", groups)[1]
    assert "50.00 (n=2)" in text


@pytest.mark.parametrize(
    ("names", "line"),
    [
        (["fsa_na/aaaaaaaa"], "expected two runs or groups, got 1: hdx compare A B"),
        (["fsa_na/aaaaaaaa", "fsa_na/bbbbbbba"], "'fsa_na/bbbbbbba' is no run and no group. Did you mean 'fsa_na/bbbbbbbb'?"),
        (["fsa_na", "fsa_na/aaaaaaaa"], "'fsa_na' fits 10 runs of several groups; give a full run id or exp/hash"),
        (["cccccccc", "fsa_na/aaaaaaaa"], "'cccccccc': expected a finished run, got failed fsa_na/cccccccc-s0"),
    ],
)
def test_what_cannot_be_compared(names: list[str], line: str, groups: str, inside: Inside) -> None:
    code, out, err = inside("compare", *names, groups)
    assert (code, out) == (2, "") and err.startswith(f"hdx: {line}") and err.count("\n") == 1


def test_an_interval_has_no_more_digits_than_its_mean() -> None:
    from hdx.cli.compare import _mean

    assert _mean({"mean": 1.0270001, "half": 1.459e-15, "n": 3}, False, False) == "1.027 ± 0.000"
    assert _mean({"mean": 0.93214, "half": 0.0041, "n": 3}, True, False) == "93.21 ± 0.41"
    assert _mean({"mean": 1797.0, "half": 0.0, "n": 3}, False, False) == "1,797 ± 0"
