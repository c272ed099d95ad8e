"""When each method trains, on which images, over which classes, and which parameters."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.unit.engine.conftest import make_body
from torch import nn

from hdx.adapters.film import Film
from hdx.config.validate import load
from hdx.errors import ConfigError
from hdx.heads._base import Head
from hdx.heads.lda import LDA
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Method
from hdx.methods._parts import Parts
from hdx.methods.finetune import Finetune
from hdx.methods.first_session import FirstSession
from hdx.methods.frozen import Frozen
from hdx.methods.joint import Joint
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

SESSIONS = [
    Session(0, (4, 1), (4, 1), np.array([0, 1, 2]), np.array([0])),
    Session(1, (3,), (4, 1, 3), np.array([7, 8]), np.array([0, 1])),
    Session(2, (0, 2), (4, 1, 3, 0, 2), np.array([5]), np.array([0, 1, 2])),
]


def made(kind: type[Method], head: type[Head]) -> Method:
    body = make_body((1, 8, 8))
    body.attach(Film())
    return kind(Parts(body, head(body.n_features), CrossEntropy(), Recipe()))


def plan(method: Method) -> list[list[tuple[str, list[int], tuple[int, ...]]]]:
    found = []
    for session in SESSIONS:
        method.head.expand(len(session.new_classes))
        phases = method.phases(session, SESSIONS)
        found.append([(phase.inputs, phase.indices.tolist(), phase.classes) for phase in phases])
    return found


NEW = [session.new_classes for session in SESSIONS]
SEEN = [session.seen_classes for session in SESSIONS]
ALL = [0, 1, 2, 7, 8, 5]
PLANS = {
    (Frozen, LDA): [[], [], []],
    (Frozen, Linear): [
        [("features", [0, 1, 2], SEEN[0])],
        [("features", [7, 8], SEEN[1])],
        [("features", [5], SEEN[2])],
    ],
    (FirstSession, LDA): [[("images", [0, 1, 2], NEW[0])], [], []],
    (FirstSession, Linear): [
        [("images", [0, 1, 2], NEW[0]), ("features", [0, 1, 2], SEEN[0])],
        [("features", [7, 8], SEEN[1])],
        [("features", [5], SEEN[2])],
    ],
    (Finetune, LDA): [[("images", [0, 1, 2], NEW[0])], [("images", [7, 8], NEW[1])], [("images", [5], NEW[2])]],
    (Finetune, Linear): [[("images", [0, 1, 2], SEEN[0])], [("images", [7, 8], SEEN[1])], [("images", [5], SEEN[2])]],
    (Joint, LDA): [[("images", ALL, SEEN[2])], [], []],
    (Joint, Linear): [
        [("images", ALL, SEEN[2]), ("features", [0, 1, 2], SEEN[0])],
        [("features", [0, 1, 2, 7, 8], SEEN[1])],
        [("features", ALL, SEEN[2])],
    ],
}


@pytest.mark.parametrize(("kind", "head"), PLANS)
def test_what_trains_when(kind: type[Method], head: type[Head]) -> None:
    assert plan(made(kind, head)) == PLANS[kind, head]


@pytest.mark.parametrize(("kind", "head"), PLANS)
def test_the_body_trains_where_the_method_says_so(kind: type[Method], head: type[Head]) -> None:
    method = made(kind, head)
    trains = [any(inputs == "images" for inputs, _, _ in phases) for phases in plan(method)]
    assert trains == [method.trains_body(session.index) for session in SESSIONS]


@pytest.mark.parametrize("kind", [FirstSession, Finetune, Joint])
def test_a_temporary_head_has_dropout_and_a_row_for_each_of_the_phases_classes(kind: type[Method]) -> None:
    method = made(kind, LDA)
    method.head.expand(2)
    phase = method.phases(SESSIONS[0], SESSIONS)[0]
    dropout, linear = phase.classifier  # type: ignore[misc]
    assert isinstance(dropout, nn.Dropout) and dropout.p == 0.5
    assert linear.weight.shape == (len(phase.classes), method.body.n_features)
    ids = {id(parameter) for parameter in phase.parameters}
    assert ids == {id(parameter) for parameter in [*method.body.trainable, *linear.parameters()]}


@pytest.mark.parametrize("kind", [FirstSession, Joint])
def test_a_temporary_head_may_be_a_cosine_classifier(kind: type[FirstSession]) -> None:
    body = make_body((1, 8, 8))
    body.attach(Film())
    method = kind(Parts(body, LDA(body.n_features), CrossEntropy(), Recipe()), classifier="cosine", scale=20.0, dropout=0.25)
    phase = method.phases(SESSIONS[0], SESSIONS)[0]
    dropout, cosine = phase.classifier  # type: ignore[misc]
    assert dropout.p == 0.25 and len(cosine.weight) == len(phase.classes)
    x = torch.randn(3, body.n_features, generator=torch.Generator().manual_seed(0))
    expected = 20 * nn.functional.cosine_similarity(x[:, None], cosine.weight[None], dim=2)
    torch.testing.assert_close(cosine(x), expected, atol=1e-5, rtol=1e-5)
    assert {id(p) for p in phase.parameters} == {id(p) for p in [*body.trainable, cosine.weight]}


def test_a_cosine_classifier_does_not_start_from_lda() -> None:
    words = ["+exp=fsa_film", "method.classifier=cosine"]
    assert load(words)["method.scale"] == 16.0
    with pytest.raises(ConfigError, match="leave it out, or take method.classifier=linear"):
        load([*words, "method.head_start=lda"])


def test_begin_and_end_make_exactly_the_phases_parameters_trainable() -> None:
    method = made(FirstSession, Linear)
    method.head.expand(2)
    body_phase, head_phase = method.phases(SESSIONS[0], SESSIONS)
    for phase in (body_phase, head_phase):
        method.begin(phase)
        trains = {id(parameter) for parameter in method.parameters() if parameter.requires_grad}
        assert trains == {id(parameter) for parameter in phase.parameters}
        method.end()
        assert not any(parameter.requires_grad for parameter in method.parameters())
        assert method.classifier is None and not method.training
