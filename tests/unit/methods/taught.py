"""A teacher and its students on scikit-learn's digits, made in seconds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.unit.methods.digit_runs import SMALL, run

#: a run of digits, with the body and recipe that `digit_runs.run` gives every run of these tests
TEACHER = ("+exp=kd_teacher", *(word for word in SMALL if word not in ("accelerator=cpu", "threads=1")), "trainer.epochs=4")
#: ten labels among 1,258 images
FEW = ("protocol.labels=0.005", "protocol.label_seed=0")


def listed(words: tuple[str, ...] = TEACHER) -> str:
    """The override that names a teacher's run by its words."""
    return f"teacher.overrides=[{','.join(repr(word) for word in words)}]"


def student(folder: Path, *words: str) -> dict[str, Any]:
    """The record of a student of that teacher."""
    return run(folder, *words, listed())
