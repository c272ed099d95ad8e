"""Prototypical networks: the loss of an episode, what trains when, what is refused, and that it helps on unseen characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.engine.conftest import make_body
from tests.unit.methods.few_shot import features_of, loader_of, one_shot_accuracy, session_of, small_body, train, unseen

from hdx.adapters.full import Full
from hdx.body import Body
from hdx.datasets._base import Dataset
from hdx.engine import stop
from hdx.errors import ConfigError, Interrupted
from hdx.heads._base import Head
from hdx.heads.linear import Linear
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods.prototypical import Prototypical, episode_logits
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

WAYS, SHOTS, QUERIES = 4, 2, 3


def made(body: Body, head: type[Head] = NCM, recipe: Recipe | None = None, **options: Any) -> Prototypical:
    options = {"ways": WAYS, "shots": SHOTS, "queries": QUERIES, "episodes_per_epoch": 5, **options}
    return Prototypical(Parts(body, head(body.n_features), CrossEntropy(), recipe or Recipe()), **options)


def plain_loss(features: np.ndarray, distance: str, scale: float) -> float:
    """Snell et al. 2017, algorithm 1, query by query in float64."""
    by_class = features.astype(np.float64).reshape(WAYS, SHOTS + QUERIES, -1)
    if distance == "cosine":
        by_class = by_class / np.linalg.norm(by_class, axis=2, keepdims=True)
    prototypes = [own[:SHOTS].mean(0) for own in by_class]
    losses = []
    for label in range(WAYS):
        for query in by_class[label, SHOTS:]:
            if distance == "euclidean":
                logits = [-scale * ((query - c) ** 2).sum() for c in prototypes]
            else:
                logits = [scale * query @ c / np.linalg.norm(c) for c in prototypes]
            losses.append(np.log(np.exp(np.array(logits) - max(logits)).sum()) + max(logits) - logits[label])
    return float(np.mean(losses))


@pytest.mark.parametrize(
    ("distance", "scale", "used"),
    [("euclidean", None, 1.0), ("euclidean", 0.3, 0.3), ("cosine", None, 10.0), ("cosine", 4.0, 4.0)],
)
def test_the_loss_of_an_episode(distance: str, scale: float | None, used: float) -> None:
    body = make_body((1, 8, 8))
    body.attach(Full())
    method = made(body, distance=distance, scale=scale)
    session = Session(0, (0, 1, 2, 3), (0, 1, 2, 3), np.arange(40), np.arange(1))
    method.begin(method.phases(session, [session])[0])
    images = torch.randn(WAYS * (SHOTS + QUERIES), 3, 32, 32, generator=torch.Generator().manual_seed(0))
    body.eval()
    labels = torch.tensor([2, 0, 3, 1]).repeat_interleave(SHOTS + QUERIES)
    loss = method.training_step(Batch(images, labels, 1 / 20, torch.arange(len(images))), 0)
    assert loss.item() == pytest.approx(plain_loss(body(images).detach().numpy(), distance, used), rel=1e-4)
    loss.backward()
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in body.trainable)


def test_an_offset_of_all_features_costs_no_digits() -> None:
    features = torch.randn(20, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    near, far = (episode_logits(features + offset, WAYS, SHOTS, "euclidean") for offset in (0.0, 100.0))
    torch.testing.assert_close(far, near, atol=2e-4, rtol=0)  # float32 has 8e-6 left at 100


def test_gradients_are_those_of_the_plain_formula() -> None:
    """The centre that is subtracted carries no gradient, and none is missing."""
    features = torch.randn(20, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: episode_logits(x, WAYS, SHOTS, "euclidean"), features)
    assert torch.autograd.gradcheck(lambda x: episode_logits(x, WAYS, SHOTS, "cosine"), features)


def test_the_body_trains_on_the_first_session_only() -> None:
    body = make_body((1, 8, 8))
    body.attach(Full())
    sessions = [
        Session(0, (4, 1), (4, 1), np.array([0, 1, 2]), np.array([0])),
        Session(1, (3,), (4, 1, 3), np.array([7, 8]), np.array([0, 1])),
    ]
    for head, also in ((NCM, []), (Linear, ["features"])):
        method = made(body, head)
        plan = []
        for session in sessions:
            method.head.expand(len(session.new_classes))
            plan.append(method.phases(session, sessions))
        assert [[phase.inputs for phase in phases] for phases in plan] == [["images", *also], also]
        assert [method.trains_body(session.index) for session in sessions] == [True, False]
        first = plan[0][0]
        assert first.classes == (4, 1) and first.indices.tolist() == [0, 1, 2] and first.sampler is method.sampler
        assert {id(p) for p in first.parameters} == {id(p) for p in body.trainable}
    method.begin(plan[1][0])  # the gradient head trains as with every method
    x, y = torch.randn(6, body.n_features), torch.arange(6) % 3
    expected = torch.nn.functional.cross_entropy(method.head(x), y)
    torch.testing.assert_close(method.training_step(Batch(x, y, 1 / 6, torch.arange(len(x))), 0), expected)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"ways": 5}, "method.ways=5: episodes are drawn from the 4 classes of the first session"),
        ({"queries": 9}, r"take 11 images of a class: 2 of 4 classes have fewer \(the smallest has 0\)"),
    ],
)
def test_too_few_classes_or_images_are_refused_before_any_work(options: dict[str, int], words: str) -> None:
    """The classes of the first session are 1, 3, 5, 7, of which 7 has no image and 5 ten."""
    labels = np.repeat([0, 1, 2, 3, 5], [3, 20, 1, 20, 10])
    first = Session(0, (3, 1, 7, 5), (3, 1, 7, 5), np.flatnonzero(np.isin(labels, [1, 3, 5])), np.arange(1))
    with pytest.raises(ConfigError, match=words):
        made(make_body((1, 8, 8)), **options).check(labels, [first])


def test_enough_is_not_refused() -> None:
    first = Session(0, (0, 1, 2, 3), (0, 1, 2, 3), np.arange(20), np.arange(1))
    made(make_body((1, 8, 8))).check(np.repeat(np.arange(4), 5), [first])


def test_episodes_make_unseen_characters_easier(omniglot: Dataset, tmp_path: Path) -> None:
    new = unseen(omniglot)
    body, session = small_body(), session_of(omniglot.train.labels, int(new[0]))
    recipe = Recipe(lr=0.003, schedule="onecycle")
    method = made(body, recipe=recipe, ways=20, shots=1, queries=5, episodes_per_epoch=30)
    before = one_shot_accuracy(method.head, features_of(body, omniglot, new))
    train(method, method.phases(session, [session])[0], omniglot, 1, tmp_path / "p.pt")
    after = one_shot_accuracy(method.head, features_of(body, omniglot, new))
    assert before > 0.25  # chance is 0.2
    assert after > before + 0.12


def test_cut_in_two_a_phase_of_episodes_ends_bit_equal(
    omniglot: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = session_of(omniglot.train.labels, 20)

    def run() -> tuple[float | None, dict[str, torch.Tensor]]:
        method = made(small_body(width=8), ways=5, shots=1, queries=2, episodes_per_epoch=3)
        phase = method.phases(session, [session])[0]
        assert loader_of(method, phase, omniglot, 2).total == 6
        return train(method, phase, omniglot, 2, tmp_path / "p.pt"), method.body.state_dict()

    loss, whole = run()
    steps: list[int] = []
    monkeypatch.setattr(stop, "requested", lambda: (steps.append(1), len(steps) >= 4)[1])
    with pytest.raises(Interrupted):
        run()
    monkeypatch.setattr(stop, "requested", lambda: False)
    again, resumed = run()
    assert again == loss
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
