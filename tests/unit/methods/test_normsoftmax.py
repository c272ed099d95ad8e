"""Normalised softmax: its logits, its optimiser, the bound on its scale, imprinting of novel classes, and that it helps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.engine.conftest import make_body
from tests.unit.methods.few_shot import features_of, one_shot_accuracy, session_of, small_body, train, unseen

from hdx.adapters.full import Full
from hdx.body import Body
from hdx.config.validate import load
from hdx.datasets._base import Dataset
from hdx.errors import ConfigError
from hdx.heads._base import Head
from hdx.heads.imprinted import Imprinted
from hdx.heads.ncm import NCM
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods._samplers import BalancedSampler
from hdx.methods.normsoftmax import NormSoftmax, SphereClassifier, reachable
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe

SESSIONS = [
    Session(0, (4, 1), (4, 1), np.array([0, 1, 2]), np.array([0])),
    Session(1, (3,), (4, 1, 3), np.array([7, 8]), np.array([0, 1])),
]


def made(body: Body, head: type[Head] = Imprinted, recipe: Recipe | None = None, **options: Any) -> NormSoftmax:
    return NormSoftmax(Parts(body, head(body.n_features), CrossEntropy(), recipe or Recipe()), **options)


def trainable_body() -> Body:
    body = make_body((1, 8, 8))
    body.attach(Full())
    return body


@pytest.mark.parametrize("layer_norm", [True, False])
def test_logits_are_scaled_cosines(layer_norm: bool) -> None:
    torch.manual_seed(0)
    classifier = SphereClassifier(6, 4, 20.0, layer_norm)
    x = torch.randn(5, 6) + 3
    for b in range(5):
        for c in range(4):
            f = x[b].double().numpy()
            f = (f - f.mean()) / np.sqrt(f.var() + 1e-5) if layer_norm else f
            w = classifier.weight[c].detach().double().numpy()
            cosine = f @ w / np.linalg.norm(f) / np.linalg.norm(w)
            assert classifier(x)[b, c].item() == pytest.approx(20 * cosine, abs=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(classifier(x), classifier(x.float())) and classifier(x).dtype == torch.float32


def test_weight_decay_spares_the_directions_and_nothing_else() -> None:
    method = made(trainable_body(), recipe=Recipe(weight_decay=0.1))
    method.begin(method.phases(SESSIONS[0], SESSIONS)[0])
    decayed, spared = method.configure_optimizers().param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    assert any(p is method.classifier.weight for p in spared["params"])  # type: ignore[union-attr]
    body = [p for p in method.body.trainable if p.ndim > 1]
    assert {id(p) for p in decayed["params"]} == {id(p) for p in body}
    assert len(decayed["params"]) + len(spared["params"]) == len(method.body.trainable) + 1


def test_without_classifiers_to_spare_the_groups_are_the_recipes() -> None:
    recipe, parameters = Recipe(weight_decay=0.1), [torch.nn.Parameter(torch.ones(2, 2)), torch.nn.Parameter(torch.ones(2))]
    groups = recipe.build_optimizer(parameters).param_groups
    assert [[id(p) for p in group["params"]] for group in groups] == [[id(parameters[0])], [id(parameters[1])]]


def test_what_trains_when() -> None:
    method = made(trainable_body(), per_class=3)
    method.head.expand(2)
    (phase,) = method.phases(SESSIONS[0], SESSIONS)
    assert (phase.inputs, phase.classes, phase.indices.tolist()) == ("images", (4, 1), [0, 1, 2])
    assert isinstance(phase.sampler, BalancedSampler) and phase.finish is not None
    assert made(trainable_body(), NCM).phases(SESSIONS[0], SESSIONS)[0].finish is None
    assert made(trainable_body()).phases(SESSIONS[0], SESSIONS)[0].sampler is None
    method.head.expand(1)
    assert method.phases(SESSIONS[1], SESSIONS) == []
    assert [method.trains_body(session.index) for session in SESSIONS] == [True, False]


@pytest.mark.parametrize("n_classes", [2, 5, 30])
def test_the_bound_is_reached_by_a_simplex_and_by_nothing_that_was_tried(n_classes: int) -> None:
    simplex = torch.eye(n_classes, dtype=torch.float64) - 1 / n_classes
    simplex /= simplex.norm(dim=1, keepdim=True)
    p = (7 * simplex @ simplex.T).softmax(1).diagonal()
    torch.testing.assert_close(p, torch.full_like(p, reachable(7.0, n_classes)))
    for seed in range(5):
        w = torch.randn(n_classes, n_classes, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
        w /= w.norm(dim=1, keepdim=True)
        assert (7 * w @ w.T).softmax(1).diagonal().log().mean().exp() <= reachable(7.0, n_classes)


@pytest.mark.parametrize(
    ("options", "n_classes", "words"),
    [
        ({"scale": 5.0}, 4800, r"method.scale=5: the right one of 4800 classes would get .* at most 0.03. Use method.scale=14"),
        (
            {"per_class": 40},
            10,
            r"trainer.batch_size=64 images would have fewer than two classes. Use method.per_class=32 or less",
        ),
        ({}, 1, "the first session has 1: give it 2 or more"),
    ],
)
def test_the_hopeless_is_refused(options: dict[str, Any], n_classes: int, words: str) -> None:
    classes = tuple(range(n_classes))
    session = Session(0, classes, classes, np.arange(n_classes), np.arange(1))
    with pytest.raises(ConfigError, match=words):
        made(make_body((1, 8, 8)), **options).check(np.arange(n_classes), [session])


def test_the_default_is_not_refused() -> None:
    classes = tuple(range(4800))
    made(make_body((1, 8, 8))).check(np.arange(4800), [Session(0, classes, classes, np.arange(4800), np.arange(1))])


@pytest.mark.parametrize("trained", [True, False])
def test_training_and_scoring_must_agree_on_the_layer_norm(trained: bool) -> None:
    words = ("method=normsoftmax", "adapter=full", f"method.layer_norm={str(trained).lower()}")
    assert load([*words, "head=imprinted", f"head.layer_norm={str(trained).lower()}"])["head.layer_norm"] is trained
    assert load([*words, "head=ncm"])["method.layer_norm"] is trained
    with pytest.raises(ConfigError, match=f"take head.layer_norm={str(trained).lower()} as well"):
        load([*words, "head=imprinted", f"head.layer_norm={str(not trained).lower()}"])


@pytest.mark.parametrize("method", ["prototypical", "normsoftmax"])
def test_nothing_to_train_is_refused(method: str) -> None:
    with pytest.raises(ConfigError, match=f"method={method} has nothing to train with adapter=none"):
        load([f"method={method}"])


def test_training_helps_and_novel_classes_are_imprinted(omniglot: Dataset, tmp_path: Path) -> None:
    """One-shot accuracy on an unseen alphabet rises; trained classes keep their weights and novel ones join them."""
    new = unseen(omniglot)
    n_base = int(new[0])
    body, session = small_body(), session_of(omniglot.train.labels, n_base)
    method = made(body, recipe=Recipe(lr=0.003, schedule="onecycle", batch_size=100))
    head = method.head
    assert isinstance(head, Imprinted)
    head.expand(n_base)
    (phase,) = method.phases(session, [session])
    before = one_shot_accuracy(head, features_of(body, omniglot, new))
    train(method, phase, omniglot, 2, tmp_path / "p.pt")
    features = features_of(body, omniglot, new)
    assert before > 0.25 and one_shot_accuracy(head, features) > before + 0.08
    base = features_of(body, omniglot, np.arange(n_base)).flatten(0, 1)
    with torch.no_grad():
        torch.testing.assert_close(head(base).float(), phase.classifier(base), atol=1e-4, rtol=0)
    head.expand(len(new))
    head.update(features[:, :3].flatten(0, 1), n_base + torch.arange(len(new)).repeat_interleave(3))
    queries, labels = features[:, 3:].flatten(0, 1), n_base + torch.arange(len(new)).repeat_interleave(3)
    joint = head(queries)
    among_new = joint[:, n_base:].argmax(1) + n_base == labels
    assert joint.shape == (len(labels), n_base + len(new))
    assert among_new.double().mean() > 5 / len(new)
    assert (joint.argmax(1) == labels).double().mean() > 5 / (n_base + len(new))
