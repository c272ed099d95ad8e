"""Types of options, read by type checkers and, without importing torch, by the config validation.

A bound is written in the annotation: `Annotated[float, ">= 0"]`, or an interval `"[0, 1]"`, `"(0, 1]"`, `"[0, 2^63)"`.
"""

from __future__ import annotations

from typing import Annotated

PositiveInt = Annotated[int, ">= 1"]
NonNegativeInt = Annotated[int, ">= 0"]
Seed = Annotated[int, "[0, 2^63)"]  # a signed 64-bit number: what the index of runs and torch's operators take
PositiveFloat = Annotated[float, "> 0"]
NonNegativeFloat = Annotated[float, ">= 0"]
Fraction = Annotated[float, "[0, 1]"]
OpenFraction = Annotated[float, "(0, 1)"]
