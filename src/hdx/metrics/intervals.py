"""Means and paired differences with confidence intervals after Student (1908)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

LEVEL = 0.95


@dataclass(frozen=True)
class Mean:
    """A sample mean and its interval `mean ± half`.

    Attributes:
        mean: sample mean; nan for an empty sample.
        half: half-width of the interval; nan under 2 values, where no variance can be estimated.
        n: how many values.
        std: sample standard deviation (n - 1); nan under 2 values.
    """

    mean: float
    half: float
    n: int
    std: float

    @property
    def low(self) -> float:
        """Lower end of the interval."""
        return self.mean - self.half

    @property
    def high(self) -> float:
        """Upper end of the interval."""
        return self.mean + self.half


def mean_ci(values: Sequence[float | None] | np.ndarray, level: float = LEVEL) -> Mean:
    """Mean and Student t interval of a sample; the caller decides from `n` whether to print the interval.

    Args:
        values: [n] numbers; None and nan are left out (a metric that is not defined for a run).
        level: coverage in (0, 1).
    Raises: ValueError for a level outside (0, 1).
    """
    if not 0 < level < 1:
        raise ValueError(f"level: expected a number in (0, 1), got {level}")
    sample = np.array([value for value in values if value is not None and not math.isnan(value)], dtype=np.float64)
    n = len(sample)
    if n == 0:
        return Mean(math.nan, math.nan, 0, math.nan)
    if n == 1:
        return Mean(float(sample[0]), math.nan, 1, math.nan)
    std = float(sample.std(ddof=1))
    return Mean(float(sample.mean()), student_t(level, n - 1) * std / math.sqrt(n), n, std)


@dataclass(frozen=True)
class Paired:
    """Mean of the differences a - b over the keys (seeds) that both have.

    Attributes:
        difference: mean difference with its interval.
        p: two-sided p-value of the paired t-test; nan under 2 pairs, 0 or 1 where all differences are equal.
        keys: the shared keys, sorted.
    """

    difference: Mean
    p: float
    keys: tuple[Any, ...]


def paired_difference(a: Mapping[Any, float | None], b: Mapping[Any, float | None], level: float = LEVEL) -> Paired:
    """Paired difference a - b by key, with a Student t interval: what the seeds have in common cancels.

    Args:
        a, b: value by seed or episode (of one type, which sorts). Keys that only one has, and values that are None or nan,
            are left out.
        level: coverage in (0, 1).
    """
    left, right = _defined(a), _defined(b)
    keys = tuple(sorted(set(left) & set(right)))
    difference = mean_ci([left[key] - right[key] for key in keys], level)
    return Paired(difference, _p_value(difference), keys)


def student_t(level: float, degrees: int) -> float:
    """The t with P(|T| <= t) = level for `degrees` degrees of freedom."""
    from scipy.special import stdtrit  # scipy.stats would take a second to import

    return float(stdtrit(degrees, (1 + level) / 2))


def _defined(values: Mapping[Any, float | None]) -> dict[Any, float]:
    return {key: float(value) for key, value in values.items() if value is not None and not math.isnan(value)}


def _p_value(difference: Mean) -> float:
    if difference.n < 2:
        return math.nan
    if difference.std == 0:
        return 1.0 if difference.mean == 0 else 0.0
    from scipy.special import stdtr

    t = abs(difference.mean) / (difference.std / math.sqrt(difference.n))
    return float(2 * stdtr(difference.n - 1, -t))
