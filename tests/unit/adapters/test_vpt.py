"""VPT is tokens concatenated by hand: outputs, gradients, counts; pools skip prompts; other bodies are refused."""

from __future__ import annotations

import copy
import math
from typing import Any

import numpy as np
import pytest
import torch
from tests.unit.adapters.bodies import IMAGES
from torch import Tensor

from hdx.adapters.vpt import Vpt
from hdx.backbones.conv4 import Conv4
from hdx.backbones.timm import Timm
from hdx.body import Body
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError
from hdx.heads.linear import Linear
from hdx.losses.cross_entropy import CrossEntropy
from hdx.methods._parts import Parts
from hdx.methods.lwf import Lwf
from hdx.methods.wa import Wa
from hdx.pools._base import Pool
from hdx.pools.avg import Avg
from hdx.pools.cls import Cls
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe


def made(model: str, pool: type[Pool] = Avg, **options: Any) -> Body:
    torch.manual_seed(0)
    backbone = Timm(model=model, image_size=32)
    body = Body(backbone, pool(backbone), EvalTransform(backbone.input_spec, (3, 32, 32)), "32", {})
    body.attach(Vpt(**options))
    return body


def by_hand(body: Body, images: Tensor, prompts: Tensor) -> Tensor:
    """The tokens of timm's own modules, prompts [L, n, D] put after the prefix tokens before each of the first L blocks."""
    vit, n_prefix = body.backbone.body, body.backbone.n_prefix_tokens  # type: ignore[union-attr]
    x = vit.patch_embed(images)
    x = vit.norm_pre(vit._pos_embed(x))
    for number, block in enumerate(vit.blocks):
        if number < len(prompts):
            old = 0 if number == 0 else prompts.shape[1]
            rows = [torch.cat([row[:n_prefix], prompts[number], row[n_prefix + old :]]) for row in x]
            x = torch.stack(rows)
        x = block(x)
    return vit.norm(x)


@pytest.mark.parametrize("model", ["test_vit", "test_vit3"])
@pytest.mark.parametrize("depth", ["shallow", "deep"])
def test_tokens_and_gradients_are_those_by_hand(model: str, depth: str) -> None:
    body = made(model, tokens=3, depth=depth)
    (prompts,) = body.trainable
    blocks = len(body.backbone.named_blocks())
    assert prompts.shape == (blocks if depth == "deep" else 1, 3, body.n_features)
    own = prompts.detach().clone().requires_grad_(True)
    found, expected = body.tokens(IMAGES), by_hand(body, IMAGES, own)
    torch.testing.assert_close(found, expected)
    probe = torch.randn_like(found)
    (found * probe).sum().backward()
    (expected * probe).sum().backward()
    torch.testing.assert_close(prompts.grad, own.grad)
    n = body.backbone.n_prefix_tokens
    torch.testing.assert_close(body(IMAGES), expected[:, n + 3 :].mean(1))


def test_the_class_token_is_the_feature_of_pool_cls() -> None:
    body = made("test_vit", Cls, tokens=2)
    torch.testing.assert_close(body(IMAGES), by_hand(body, IMAGES, body.trainable[0])[:, 0])


def test_prompts_start_uniform_within_the_papers_bound() -> None:
    (prompts,) = made("test_vit", tokens=50).trainable
    bound = math.sqrt(6 / (3 * 16 * 16 + 64))
    assert float(prompts.detach().abs().max()) <= bound
    assert float(prompts.detach().std()) == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_dropout_is_of_prompts_and_of_training() -> None:
    body = made("test_vit", tokens=4, dropout=0.5)
    assert torch.equal(body(IMAGES), body(IMAGES))
    body.train()
    assert not body.backbone.training
    torch.manual_seed(1)
    dropped = body.tokens(IMAGES)
    torch.manual_seed(1)
    kept = torch.stack([torch.nn.functional.dropout(prompt, 0.5) for prompt in body.trainable[0]])
    torch.testing.assert_close(dropped, by_hand(body, IMAGES, kept))


def test_two_copies_keep_their_own_prompts() -> None:
    body = made("test_vit", tokens=2)
    before, other = body(IMAGES).detach(), copy.deepcopy(body)
    with torch.no_grad():
        body.trainable[0].add_(1.0)
    assert torch.equal(other(IMAGES), before) and not torch.equal(body(IMAGES), before)


@pytest.mark.parametrize("kind", [Lwf, Wa])
def test_methods_distil_from_the_prompts_of_before(kind: type[Lwf | Wa]) -> None:
    body = made("test_vit", tokens=2)
    method = kind(Parts(body, Linear(body.n_features), CrossEntropy(), Recipe()))
    method.head.expand(2)
    with torch.no_grad():
        before = method.head(body(IMAGES))
    method.start_session(Session(1, (2,), (0, 1, 2), np.arange(2), np.arange(1)))
    method.head.expand(1)
    with torch.no_grad():
        body.trainable[0].add_(torch.randn(body.trainable[0].shape))
    assert method.previous is not None and torch.equal(method.previous.logits(IMAGES), before)
    assert (method.head(body(IMAGES))[:, :2] - before).abs().max() > 1e-3


def test_a_convolutional_body_is_refused() -> None:
    with pytest.raises(ConfigError, match="backbone Conv4 is no vision transformer"):
        Vpt().attach(Conv4(width=4))
