"""A teacher that an hdx run trained."""

from __future__ import annotations

from typing import Literal

from hdx.options import OfRun, PositiveInt, Unhashed
from hdx.rules import one_of, refuse
from hdx.teachers._base import Source, Teacher


class RunTeacher(Teacher):
    """The model of a finished run, body and head: whatever backbone, adapter, method and head it has.

    The run is named by its id or directory, or by the words that `hdx train` makes it with; it lies in the `output_dir` of its
    students. A sweep or `hdx table --run` makes a teacher that is named by its words before the students that need it.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network".

    Args:
        run: id (`exp/hash-sN`) or directory of a finished run; null where `overrides` name it.
        overrides: command-line words of the teacher's run, as `["+exp=kd_teacher","seed=1"]`; null where `run` names it.
        batch_size: images a forward pass of the teacher.
        cache: keep the teacher's outputs on disk, for all epochs and runs that see the same crops; null: where crops come back,
            that is without augmentation or with `trainer.crops`.
        store: fp16 keeps every logit, top_k the largest ones and the mass of the rest.
        k: logits that top_k keeps.
    """

    rules = (
        one_of("run", "overrides", say="is named by teacher.run=ID or by teacher.overrides='[\"+exp=kd_teacher\"]'"),
        refuse(
            {"overrides": []},
            "teacher.overrides is empty: expected the words of the teacher's run, as in "
            "teacher.overrides='[\"+exp=kd_teacher\"]'",
        ),
    )

    def __init__(
        self,
        source: Source,
        *,
        run: OfRun[str | None] = None,
        overrides: OfRun[list[str] | None] = None,
        batch_size: PositiveInt = 32,
        cache: Unhashed[bool | None] = None,
        store: Literal["fp16", "top_k"] = "fp16",
        k: PositiveInt = 32,
    ) -> None:
        super().__init__(source.run(run, overrides or []), batch_size=batch_size, cache=cache, store=store, k=k)
