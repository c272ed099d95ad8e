"""What holds for every adapter of the registry, without naming any."""

from __future__ import annotations

import copy
import functools

import pytest
import torch
from tests.unit.adapters.bodies import IMAGES, adapted, features, made, moved
from torch import nn

from hdx import registry
from hdx.adapters._base import Adapter
from hdx.adapters.film import Film
from hdx.adapters.full import Full
from hdx.adapters.none import NoAdapter
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._base import Batch, Method, Previous
from hdx.methods._parts import Parts
from hdx.trainers.recipe import Recipe

ADAPTERS = registry.names("adapter")
every = pytest.mark.parametrize("adapter", ADAPTERS)


@every
def test_a_copy_of_the_body_is_independent(adapter: str) -> None:
    body = adapted(adapter)
    moved(body)
    before, other = features(body), copy.deepcopy(body)
    moved(body, by=0.2)
    assert torch.equal(features(other), before)
    assert torch.equal(features(body), before) == (not body.trainable)
    after = features(body)
    other.adapter.attach(other.backbone) if not other.trainable else moved(other, by=0.3)  # type: ignore[union-attr]
    assert torch.equal(features(body), after)
    assert {id(p) for p in body.parameters()}.isdisjoint({id(p) for p in other.parameters()})


@every
def test_a_previous_model_keeps_its_own(adapter: str) -> None:
    body = adapted(adapter)
    head = Linear(body.n_features)
    head.expand(3)
    before = head(features(body)).detach()
    previous = Previous.of(body, head)
    moved(body, by=0.2)
    torch.testing.assert_close(previous.logits(IMAGES), before, rtol=0, atol=0)


@every
def test_the_digest_changes_with_each_thing_that_trains_and_comes_back(adapter: str) -> None:
    body = adapted(adapter)
    moved(body)
    digest, before = body.digest(), features(body)
    assert digest == body.digest() == copy.deepcopy(body).digest()
    for parameter in body.trainable[:8]:
        kept = parameter.detach().clone()
        with torch.no_grad():
            parameter.add_(0.5)
        assert body.digest() != digest
        with torch.no_grad():
            parameter.copy_(kept)
    assert body.digest() == digest and torch.equal(features(body), before)


@every
def test_what_changed_makes_a_fresh_body_the_same(adapter: str) -> None:
    body, fresh = adapted(adapter), adapted(adapter)
    assert torch.equal(features(body), features(fresh)), "an adapter starts from torch's seed alone"
    moved(body)
    fresh.load_changed(body.changed_state())
    assert fresh.digest() == body.digest() and torch.equal(features(fresh), features(body))


@every
def test_what_trains_is_what_has_a_gradient_and_nothing_else_moves(adapter: str) -> None:
    body = adapted(adapter)
    assert bool(body.trainable) == registry.load("adapter", adapter).trains  # type: ignore[attr-defined]
    assert [id(p) for p in body.trainable] == [id(p) for p in dict.fromkeys(body.trainable)]
    moved(body)
    body.train()
    if body.trainable:
        body(IMAGES).square().sum().backward()
    assert all(p.grad is not None for p in body.trainable)
    assert {id(p) for p in body.parameters() if p.grad is not None} == {id(p) for p in body.trainable}


@every
def test_merging_changes_no_output_beyond_rounding(adapter: str) -> None:
    body = adapted(adapter)
    moved(body)
    before = features(body)
    body.adapter.merge(body.backbone)  # type: ignore[union-attr]
    torch.testing.assert_close(features(body), before, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("adapter", "n_changed", "digest"),
    [
        ("none", 12, "f5b7d2dd"),
        ("full", 28, "f5b7d2dd"),
        ("bn", 20, "f5b7d2dd"),
        ("film", 20, "80372b86"),
        ("last_block", 16, "f5b7d2dd"),
    ],
)
def test_bodies_of_earlier_runs_keep_names_and_digests(adapter: str, n_changed: int, digest: str) -> None:
    body = adapted(adapter)
    with torch.no_grad():
        for number, value in enumerate(body.state_dict().values()):
            value.copy_(torch.arange(value.numel()).view(value.shape) % 7 + number)
    assert len(body.changed_state()) == n_changed and all(name.startswith("backbone.") for name in body.changed_state())
    assert body.digest()[:8] == digest


class Leaky(Film):
    """FiLM with hooks put on by hand."""

    def __init__(self, hook: object) -> None:
        super().__init__()
        self.hook = hook

    def attach(self, backbone):
        backbone.get_submodule("blocks.1").register_forward_hook(self.hook)
        return super().attach(backbone)

    def own(self, module, inputs, output):
        return output + 1


def test_hooks_that_copies_would_share_are_refused() -> None:
    prompt = nn.Parameter(torch.zeros(1))
    for hook in (lambda module, inputs, output: output + prompt, functools.partial(Leaky.own, Film())):
        with pytest.raises(TypeError, match=r"Leaky put .* on backbone.blocks.1: expected a method of one of the body's modules"):
            made("conv4").attach(Leaky(hook))
    leaky = Leaky(None)
    leaky.hook = leaky.own
    body = made("conv4")
    body.attach(leaky)
    assert next(iter(copy.deepcopy(body).backbone.get_submodule("blocks.1")._forward_hooks.values())).__self__ is not leaky


class Shifted(Adapter):
    """Adds a trained image to every image, at a price."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Parameter(torch.zeros(3, 32, 32))

    def attach(self, backbone):
        backbone.requires_grad_(False)
        return [self.image]

    def forward(self, backbone, images):
        return backbone(images + self.image)

    def penalty(self):
        return 0.5 * self.image.square().sum()


def test_an_adapters_own_forward_and_penalty_are_part_of_the_body() -> None:
    body, plain = made("conv4"), made("conv4")
    plain.attach(NoAdapter())
    body.attach(Shifted())
    with torch.no_grad():
        body.trainable[0].add_(0.3)
    torch.testing.assert_close(features(body), plain(IMAGES + 0.3).detach())
    assert set(body.changed_state()) - set(plain.changed_state()) == {"adapter.image"}
    head = Linear(body.n_features)
    head.expand(2)
    method, labels = Method(Parts(body, head, CrossEntropy(), Recipe())), torch.tensor([0, 1])
    method.begin(method.body_phase(torch.arange(2).numpy(), (0, 1), head))
    loss = method.training_step(Batch(IMAGES, labels, 0.5, torch.arange(2)), 0)
    own = nn.functional.cross_entropy(head(plain(IMAGES + 0.3)), labels) + 0.5 * 0.09 * 3 * 32 * 32
    torch.testing.assert_close(loss, own)


def test_full_training_leaves_the_hooks_of_the_body_alone() -> None:
    body = made("conv4")
    body.backbone.get_submodule("blocks.0").register_forward_hook(lambda module, inputs, output: None)
    body.attach(Full())
    assert body.trainable
