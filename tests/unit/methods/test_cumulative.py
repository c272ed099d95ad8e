"""Cumulative: all rows seen, and the head anew; and that no method without all data reaches it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.integration.harness import train
from tests.unit.engine.conftest import make_body
from tests.unit.methods.test_replay import SMALL

from hdx.adapters.film import Film
from hdx.heads._base import Head
from hdx.heads.lda import LDA
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods.cumulative import Cumulative
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

SESSIONS = [
    Session(0, (4, 1), (4, 1), np.array([0, 1, 2]), np.array([0])),
    Session(1, (3,), (4, 1, 3), np.array([7, 8]), np.array([0, 1])),
    Session(2, (), (4, 1, 3), np.array([1, 5]), np.array([0, 1]), (1,)),  # row 1 comes again
]


@pytest.mark.parametrize("head", [Linear, LDA])
def test_every_session_trains_on_all_rows_so_far(head: type[Head]) -> None:
    body = make_body((1, 8, 8))
    body.attach(Film())
    method = Cumulative(Parts(body, head(body.n_features), CrossEntropy(), Recipe()))
    assert method.resets_head
    for session, rows in zip(SESSIONS, ([0, 1, 2], [0, 1, 2, 7, 8], [0, 1, 2, 5, 7, 8])):
        method.head.expand(len(session.new_classes))
        (phase,) = method.phases(session, SESSIONS)
        assert phase.inputs == "images" and phase.indices.tolist() == rows and phase.classes == session.seen_classes
        assert method.head_rows(session).tolist() == rows
        assert (phase.classifier is method.head) == (head is Linear)
        assert method.trains_body(session.index)
        if head is LDA:
            assert phase.classifier[-1].weight.shape == (len(session.seen_classes), body.n_features)  # type: ignore[index]


@pytest.mark.parametrize("head", ["linear", "lda"])
def test_it_is_a_ceiling(head: str, tmp_path: Path) -> None:
    naive = train(tmp_path, "+exp=cil_finetune", *SMALL)
    bound = train(tmp_path, "+exp=cil_cumulative", f"head={head}", *SMALL)
    assert bound["metrics"]["acc_last"] > naive["metrics"]["acc_last"] + 0.3
    assert [session["images_trained"] for session in bound["sessions"]] == [6 * 60 * n for n in (1, 2, 3, 4, 5)]


def test_a_statistics_head_knows_all_images_under_the_last_body(tmp_path: Path) -> None:
    """Were old statistics those of old bodies, the record would have fewer images forwarded."""
    found = train(tmp_path, "+exp=cil_cumulative", "head=ncm", "protocol.step=5", *SMALL[:3], "trainer.epochs=1")
    tests = [session["n_test"] for session in found["sessions"]]
    assert [session["images_forwarded"] for session in found["sessions"]] == [150 + tests[0], 300 + tests[1]]
