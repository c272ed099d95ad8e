"""Values against annotations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hdx.config.types import Misfit, bound, choices, expected, fit, within, words
from hdx.options import Fraction, NonNegativeFloat, NonNegativeInt, OpenFraction, PositiveFloat, PositiveInt


@pytest.mark.parametrize(
    ("value", "annotation", "result"),
    [
        (1, float, 1.0),
        (1, NonNegativeFloat, 1.0),
        (3, PositiveInt, 3),
        (None, PositiveInt | None, None),
        (0.5, Fraction, 0.5),
        (True, bool, True),
        ("a", str, "a"),
        (2024, str, "2024"),
        (32, Literal["32", "bf16-mixed"], "32"),
        ([1, 2], list[float], [1.0, 2.0]),
        ([], list[PositiveInt], []),
        (None, list[int] | None, None),
        ([0.5, 1], tuple[float, float], [0.5, 1.0]),
        (3, float | str, 3.0),
        (3, int | float, 3),
        ({"a": 1}, dict[str, int], {"a": 1}),
        (1, Annotated[int, ">= 1", "<= 8"], 1),
        (None, Annotated[float | None, "> 0"], None),
    ],
)
def test_fits(value: Any, annotation: Any, result: Any) -> None:
    fitted = fit(value, annotation)
    assert fitted == result
    assert type(fitted) is type(result)


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        ("abc", NonNegativeFloat),
        (-0.1, NonNegativeFloat),
        (float("nan"), float),
        (float("inf"), PositiveFloat),
        (0, PositiveInt),
        (1.0, int),
        (True, int),
        (False, float),
        (1, bool),
        ("true", bool),
        (None, int),
        (1.5, str),
        (0.0, OpenFraction),
        (1.0, OpenFraction),
        (0.0, Annotated[float, "(0, 1]"]),
        ("xy", Literal["x", "y"]),
        ([1, 0], list[PositiveInt]),
        (3, list[int]),
        ("ab", list[str]),
        ([1.0], tuple[float, float]),
        (9, Annotated[int, ">= 1", "<= 8"]),
    ],
)
def test_does_not_fit(value: Any, annotation: Any) -> None:
    with pytest.raises(Misfit):
        fit(value, annotation)


@given(st.floats(-3, 3), st.sampled_from("[("), st.sampled_from("])"), st.integers(-2, 0), st.integers(0, 2))
@settings(max_examples=100, deadline=None)
def test_intervals_as_written(value: float, left: str, right: str, low: int, high: int) -> None:
    inside = low < value < high or (value == low and left == "[" and (value < high or right == "]"))
    inside = inside or (value == high and right == "]" and (value > low or left == "["))
    assert within(value, f"{left}{low}, {high}{right}") == inside


def test_a_bound_that_is_none_is_an_error_of_the_programmer() -> None:
    with pytest.raises(ValueError, match="not 'positive'"):
        within(1, "positive")


@pytest.mark.parametrize(
    ("annotation", "text"),
    [
        (NonNegativeFloat, "a float >= 0"),
        (NonNegativeInt, "an int >= 0"),
        (Fraction | None, "a float in [0, 1] or null"),
        (Literal["total", "within"], "one of total, within"),
        (list[PositiveInt], "a list of (int >= 1)"),
        (list[str] | None, "a list of string or null"),
        (bool, "a bool"),
    ],
)
def test_words(annotation: Any, text: str) -> None:
    assert expected(annotation) == text


def test_bound_and_choices_inside_optionals() -> None:
    assert bound(PositiveInt | None) == ">= 1"
    assert bound(int | None) is None
    assert bound(list[Fraction]) == "[0, 1]"
    assert choices(Literal["a", "b"] | None) == ("a", "b")
    assert choices(int) is None
    assert words(int | None) == "int or null"
