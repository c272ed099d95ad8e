"""`range()` never reaches its stop."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hdx.config import quoting, ranges
from hdx.errors import ConfigError

thousandths = st.integers(-20_000, 20_000)
steps = st.integers(50, 5_000) | st.integers(-5_000, -50)


def of(text: str) -> list[int | float]:
    override = quoting.parsed(f"x={text}")
    assert override is not None
    return ranges.numbers(override.value(), f"x={text}", 100_000)  # type: ignore[arg-type]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(thousandths, thousandths, steps)
def test_as_with_fractions(start: int, stop: int, step: int) -> None:
    wanted = [float(Fraction(number, 1000)) for number in range(start, stop, step)]
    assert of(f"range({start / 1000:.3f},{stop / 1000:.3f},{step / 1000:.3f})") == wanted


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("range(0,0.4,0.1)", [0.0, 0.1, 0.2, 0.3]),
        ("range(0.4,0,-0.1)", [0.4, 0.3, 0.2, 0.1]),
        ("range(1,0,-0.3)", [1.0, 0.7, 0.4, 0.1]),
        ("range(0.3,0.9,0.3)", [0.3, 0.6]),
        ("sort(range(0,0.4,0.1),reverse=true)", [0.3, 0.2, 0.1, 0.0]),
        ("range(1e-3,5e-3,1e-3)", [0.001, 0.002, 0.003, 0.004]),
        ("range(3)", [0, 1, 2]),
        ("range(5,0,-2)", [5, 3, 1]),
        ("range(0,1,0.4)", [0.0, 0.4, 0.8]),
        ("range(3,3)", []),
        ("range(0.1,0,0.1)", []),
    ],
)
def test_values(text: str, values: list[float]) -> None:
    found = of(text)
    assert found == values and [type(value) for value in found] == [type(value) for value in values]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("range(0,1,0)", "a step other than 0"),
        ("range(0,inf,1)", "finite numbers"),
        ("range(0,1,nan)", "finite numbers"),
        ("range(1000000000)", "the grid has 1,000,000,000 runs; expected at most 100,000"),
        ("range(0,1,1e-9)", "1,000,000,000 runs"),
    ],
)
def test_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        of(text)
