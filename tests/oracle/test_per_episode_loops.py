"""Per-episode adaptation against plain loops: a copied body, torch's own optimiser, one episode at a time, no vmap, no stacks."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx import registry
from hdx.backbones.timm import Timm
from hdx.backbones.tiny import Tiny
from hdx.body import Body
from hdx.datasets.transforms import EvalTransform
from hdx.heads._base import Head
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods.per_episode import PerEpisode
from hdx.pools.avg import Avg
from hdx.trainers.recipe import Recipe

WAYS, STEPS, SIZE = 3, 3, 16
LABELS = [[2, 0, 1, 0, 2, 2], [0, 1, 2, 2, 1, 2], [1, 1, 0, 2, 0, 1]]  # unsorted, unequal shots


def episodes(n: int) -> tuple[Tensor, Tensor, Tensor]:
    """Support, labels and query of noise images whose brightness tells the class a little."""
    draws = torch.Generator().manual_seed(5)
    labels = torch.tensor(LABELS[:n])
    support = torch.randint(0, 200, (n, 6, 3, SIZE, SIZE), generator=draws) + 25 * labels[..., None, None, None]
    query = torch.randint(0, 250, (n, 4, 3, SIZE, SIZE), generator=draws)
    return support.to(torch.uint8), labels, query.to(torch.uint8)


def tiny_body(adapter: str) -> Body:
    """The body that ships with hdx, with features of a length near 3."""
    backbone = Tiny(image_size=SIZE)
    backbone.scale_features(0.05)
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (3, SIZE, SIZE)), "32", {})
    body.attach(registry.build("adapter", {"name": adapter}))
    return body


def lively(body: Body) -> Body:
    """Statistics and affine maps as after training, and not the identity of a fresh network."""
    torch.manual_seed(1)
    for module in body.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    with torch.no_grad():
        for parameter in body.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return body


def head_of(name: str, body: Body, **options: object) -> Head:
    return registry.build("head", {"name": name, **options}, body.n_features)


def started(head: str, features: Tensor, labels: Tensor, temperature: float) -> list[Tensor]:
    """Weight and bias (or weight alone) at the prototypes, by loops in float64."""
    x = F.normalize(features, dim=1).double() if head == "cosine" else features.double()
    means = torch.stack([x[labels == c].mean(0) for c in range(WAYS)])
    if head == "cosine":
        return [F.normalize(means, dim=1).float().requires_grad_()]
    mean_distance = np.mean([float((row - mean).square().sum()) for row in x for mean in means])
    weight, bias = 2 * means, -means.square().sum(1)
    return [(value / (temperature * mean_distance)).float().requires_grad_() for value in (weight, bias)]


def plain_loop(body: Body, head: Head, name: str, recipe: Recipe, support: Tensor, labels: Tensor, query: Tensor) -> Tensor:
    """Logits [Q, WAYS] of one episode by an ordinary training loop."""
    body = copy.deepcopy(body).eval()
    body.requires_grad_(False)
    images = body.transform(support)
    classifier = started("cosine" if name == "cosine" else "linear", body(images), labels, temperature=0.3)
    for parameter in body.trainable:
        parameter.requires_grad_(True)

    def logits(features: Tensor) -> Tensor:
        if name == "cosine":
            return 16.0 * F.normalize(features, dim=1) @ F.normalize(classifier[0], dim=1).T
        return features @ classifier[0].T + classifier[1]

    parameters = [*body.trainable, *classifier]
    decayed = [p for p in parameters if p.ndim > 1]
    groups = [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": [p for p in parameters if p.ndim <= 1]}]
    if recipe.optimizer == "sgd":
        optimizer: torch.optim.Optimizer = torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
    else:
        optimizer = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[recipe.optimizer](groups, lr=recipe.lr)
        optimizer.param_groups[1]["weight_decay"] = 0.0
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate(step / STEPS)
        optimizer.zero_grad()
        F.cross_entropy(logits(body(images)), labels).backward()
        if recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(parameters, recipe.clip_norm)
        optimizer.step()
    with torch.no_grad():
        asked = body(body.transform(query))
        if name in ("linear", "cosine"):
            return logits(asked)
        adapted = body(images)
        means = torch.stack([adapted[labels == c].mean(0) for c in range(WAYS)])
        return -torch.cdist(asked.double(), means.double()).square()


RECIPES = {
    "adam": Recipe(lr=0.01, schedule="cosine", weight_decay=0.1),
    "adamw": Recipe(optimizer="adamw", lr=0.01, weight_decay=0.5, schedule="constant"),
    "sgd": Recipe(optimizer="sgd", lr=0.01, weight_decay=0.1, clip_norm=0.5),
}


@pytest.mark.parametrize(
    ("adapter", "head", "recipe"),
    [
        ("film", "linear", "adam"),
        ("film", "cosine", "adamw"),
        ("film", "ncm", "sgd"),
        ("bn", "linear", "sgd"),
        ("full", "linear", "adam"),
        ("last_block", "ncm", "sgd"),
    ],
)
def test_episodes_together_are_plain_trainings_one_by_one(adapter: str, head: str, recipe: str) -> None:
    body = tiny_body(adapter)
    support, labels, query = episodes(3)
    method = PerEpisode(Parts(body, head_of(head, body), CrossEntropy(), RECIPES[recipe]), steps=STEPS)
    assert method.batched == (adapter in ("film", "bn"))
    found = method.classify_episodes(support, labels, query, WAYS, 0, torch.arange(3))
    plain = [plain_loop(body, method.head, head, RECIPES[recipe], *each) for each in zip(support, labels, query)]
    expected = torch.stack(plain).to(found.dtype)
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    untrained = PerEpisode(Parts(body, method.head, CrossEntropy(), Recipe(lr=1e-12)), steps=1)
    before = untrained.classify_episodes(support, labels, query, WAYS, 0, torch.arange(3))
    assert (found - before).abs().max() > 1e-2  # training moved the logits by much more than the tolerance


@pytest.mark.parametrize("head", ["linear", "cosine"])
def test_head_only_is_a_loop_in_float64(head: str) -> None:
    """Full-batch Adam written out, on features of an untouched body."""
    body = tiny_body("none")
    support, labels, query = episodes(3)
    recipe = Recipe(lr=0.02, schedule="constant")
    found = PerEpisode(Parts(body, head_of(head, body), CrossEntropy(), recipe), steps=STEPS).classify_episodes(
        support, labels, query, WAYS, 0, torch.arange(3)
    )
    for own, y, asked, logits in zip(support, labels, query, found):
        x, q = (body(body.transform(images)).detach().double() for images in (own, asked))
        weights = [value.detach().double().requires_grad_() for value in started(head, x, y, temperature=0.3)]

        def judge(features: Tensor, weights: list[Tensor] = weights) -> Tensor:
            if head == "cosine":
                return 16 * F.normalize(features, dim=1) @ F.normalize(weights[0], dim=1).T
            return features @ weights[0].T + weights[1]

        moments = [(torch.zeros_like(w), torch.zeros_like(w)) for w in weights]
        for step in range(1, STEPS + 1):
            loss = -torch.log_softmax(judge(x), 1)[torch.arange(len(y)), y].mean()
            for w, g, (first, second) in zip(weights, torch.autograd.grad(loss, weights), moments):
                first.mul_(0.9).add_(0.1 * g)
                second.mul_(0.999).add_(0.001 * g * g)
                w.data -= 0.02 * (first / (1 - 0.9**step)) / ((second / (1 - 0.999**step)).sqrt() + 1e-8)
        torch.testing.assert_close(logits.double(), judge(q).detach(), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["test_vit", "test_convnext", "test_resnet"])
def test_film_over_the_norms_of_timms_bodies(model: str) -> None:
    """Layer norms, norms with a fused activation, tokens: batched episodes equal each episode by itself."""
    torch.manual_seed(0)
    backbone = Timm(model=model, image_size=32)
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (3, SIZE, SIZE)), "32", {})
    body.attach(registry.build("adapter", {"name": "film"}))
    lively(body)
    support, labels, query = episodes(3)
    recipe = RECIPES["adam"]
    method = PerEpisode(Parts(body, head_of("linear", body), CrossEntropy(), recipe), steps=STEPS)
    found = method.classify_episodes(support, labels, query, WAYS, 0, torch.arange(3))
    plain = [plain_loop(body, method.head, "linear", recipe, *each) for each in zip(support, labels, query)]
    torch.testing.assert_close(found, torch.stack(plain), atol=2e-4, rtol=2e-4)
