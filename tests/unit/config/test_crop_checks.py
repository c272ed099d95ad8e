"""Combinations of stored crops, the teacher cache and its stores that make no sense."""

from __future__ import annotations

import pytest

from hdx.config.validate import load
from hdx.errors import ConfigError

KD = "+exp=kd_kd"
AUGMENT = "trainer.augment=[crop]"


@pytest.mark.parametrize(
    ("words", "line"),
    [
        ((KD, "trainer.crops=2"), "trainer.crops=2 stores crops that trainer.augment=[] does not make"),
        ((KD, "trainer.crop_seed=1"), "trainer.crop_seed=1 is of stored crops, and trainer.crops=null stores none"),
        ((KD, AUGMENT, "teacher.cache=true"), "teacher.cache=true keeps what the teacher says of a crop"),
        ((KD, "teacher.k=8"), "teacher.k=8 is of teacher.store=top_k, and fp16 keeps every logit"),
    ],
)
def test_refused_in_one_line(words: tuple[str, ...], line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(list(words))
    (found,) = caught.value.problems
    assert found.startswith(line) and ("leave" in found)


@pytest.mark.parametrize(
    "words",
    [
        (AUGMENT,),
        (AUGMENT, "trainer.crops=2", "trainer.crop_seed=1", "teacher.cache=true"),
        ("teacher.cache=true", "teacher.store=top_k", "teacher.k=8"),
    ],
)
def test_accepted(words: tuple[str, ...]) -> None:
    assert load([KD, *words])["teacher.name"] == "run"
