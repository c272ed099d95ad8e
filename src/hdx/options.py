"""Types of options, read by type checkers and, without importing torch, by the config validation.

A bound is written in the annotation: `Annotated[float, ">= 0"]`, or an interval `"[0, 1]"`, `"(0, 1]"`, `"[0, 2^63)"`. So is
what an option has to do with a run's identity (`hdx.config.identity`): one without a mark is part of it where it is not at its
default.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, TypeVar


@dataclass(frozen=True)
class Mark:
    """A mark in an annotation."""

    name: str


_T = TypeVar("_T")

#: Says how, where or with which witnesses something is done, and changes nothing that is measured.
Unhashed = Annotated[_T, Mark("unhashed")]
#: Says how a trained body is scored, and has no say in its training.
Scoring = Annotated[_T, Mark("scoring")]
#: Names another run; what that run is counts, however it is named.
OfRun = Annotated[_T, Mark("run")]
#: A file or a folder, as given or below the folder of datasets; what it holds counts, wherever it lies.
FilePath = Annotated[str, Mark("file")]

PositiveInt = Annotated[int, ">= 1"]
NonNegativeInt = Annotated[int, ">= 0"]
Seed = Annotated[int, "[0, 2^63)"]  # a signed 64-bit number: what the index of runs and torch's operators take
PositiveFloat = Annotated[float, "> 0"]
NonNegativeFloat = Annotated[float, ">= 0"]
Fraction = Annotated[float, "[0, 1]"]
OpenFraction = Annotated[float, "(0, 1)"]
