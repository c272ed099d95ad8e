"""LoRA is W + s B A by hand: outputs, gradients, dropout, counts; it starts as the body and merges into it bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from timm.layers import StdConv2d
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.adapters.lora import Lora, LowRank
from hdx.backbones._base import Backbone, InputSpec
from hdx.backbones.conv4 import Conv4
from hdx.backbones.resnet_cifar import ResNetCifar
from hdx.backbones.timm import Timm
from hdx.backbones.tiny import Tiny
from hdx.body import Body
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError
from hdx.pools.avg import Avg

BODIES: dict[str, Callable[[], Backbone]] = {
    "tiny": lambda: Tiny(pretrained=False),
    "resnet_cifar": lambda: ResNetCifar(depth=8),
    "timm_cnn": lambda: Timm(model="mobilenetv3_small_050", image_size=32),
    "timm_vit": lambda: Timm(model="vit_tiny_patch16_224", image_size=32),
    "read_without_a_call": lambda: Attending(),
}


class One(Backbone):
    """A body of one layer."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer, self.n_features, self.input_spec = layer, 1, InputSpec(8, (0, 0, 0), (1, 1, 1))

    def forward(self, images):
        return self.layer(images)

    def last_block(self):
        return [self.layer]


class Attending(Backbone):
    """A body whose only linear layer is the one that torch's attention reads the weight of and never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.n_features, self.layout, self.input_spec = 16, "tokens", InputSpec(8, (0, 0, 0), (1, 1, 1))

    def forward(self, images):
        tokens = F.adaptive_avg_pool2d(images, 4).flatten(2)  # [B, 3, 16]
        return self.attention(tokens, tokens, tokens)[0]

    def last_block(self):
        return [self.attention]


def of(layer: nn.Module, **options: Any) -> tuple[One, Lora, LowRank]:
    """A body of one layer under LoRA whose factors have moved."""
    torch.manual_seed(0)
    body, adapter = One(layer), Lora(**options)
    for parameter in adapter.attach(body):
        nn.init.normal_(parameter)
    return body, adapter, layer.parametrizations.weight[0]  # type: ignore[union-attr,index,return-value]


def by_hand(layer: Any, x: Tensor, down: Tensor, up: Tensor, scale: float, kept: Tensor) -> Tensor:
    """W x + b + s B A x as the papers' codes have it: two maps, one after the other, of the inputs that were kept."""
    weight = layer.parametrizations.weight.original
    if isinstance(layer, nn.Linear):
        return F.linear(x, weight, layer.bias) + scale * F.linear(F.linear(x * kept, down), up)
    around = {"stride": layer.stride, "padding": layer.padding, "dilation": layer.dilation}
    base = F.conv2d(x, weight, layer.bias, **around, groups=layer.groups)
    pieces, rank = (x * kept).chunk(layer.groups, 1), len(down)
    ups = up.view(layer.groups, -1, rank, 1, 1)
    inner = [F.conv2d(piece, down.view(rank, -1, *layer.kernel_size), **around) for piece in pieces]
    return base + scale * torch.cat([F.conv2d(each, own) for each, own in zip(inner, ups)], 1)


LAYERS: dict[str, Callable[[], tuple[nn.Module, Tensor, int]]] = {
    "linear": lambda: (nn.Linear(6, 5), torch.randn(4, 3, 6), 6 + 5),
    "conv": lambda: (nn.Conv2d(6, 4, 3, 2, 1), torch.randn(2, 6, 9, 9), 6 * 9 + 4),
    "dilated": lambda: (nn.Conv2d(6, 4, (3, 1), dilation=2, bias=False), torch.randn(2, 6, 9, 9), 6 * 3 + 4),
    "grouped": lambda: (nn.Conv2d(6, 4, 3, groups=2), torch.randn(2, 6, 9, 9), 3 * 9 + 4),
    "depthwise": lambda: (nn.Conv2d(6, 6, 3, groups=6), torch.randn(2, 6, 9, 9), 9 + 6),
}


@pytest.mark.parametrize("name", LAYERS)
@pytest.mark.parametrize("dropout", [None, 0.4])
def test_outputs_and_gradients_are_those_of_two_maps(name: str, dropout: float | None) -> None:
    layer, x, per_rank = LAYERS[name]()
    body, adapter, delta = of(layer, rank=3, alpha=2.0, dropout=dropout)
    assert delta.down.numel() + delta.up.numel() == 3 * per_rank
    adapter.training_mode(body)
    torch.manual_seed(5)
    kept = F.dropout(torch.ones_like(x), dropout or 0.0)
    x.requires_grad_(True)
    expected = by_hand(layer, x, delta.down, delta.up, 2 / 3, kept)
    torch.manual_seed(5)
    found = body(x)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)
    probe = torch.randn_like(found)
    leaves = (x, delta.down, delta.up)
    for own, other in zip(*(torch.autograd.grad((y * probe).sum(), leaves) for y in (found, expected))):
        torch.testing.assert_close(own, other, rtol=1e-4, atol=1e-4)
    body.eval()
    torch.testing.assert_close(body(x), by_hand(layer, x, delta.down, delta.up, 2 / 3, torch.ones_like(x)), rtol=1e-5, atol=1e-5)


def test_the_scale_is_alpha_over_r_or_over_its_root() -> None:
    assert Lora(rank=4, alpha=2.0).scale == 0.5
    assert Lora(rank=2, alpha=1.0, scaling="sqrt_rank").scale == 1 / math.sqrt(2)  # CLIP-LoRA's 0.7071


@pytest.mark.parametrize("name", BODIES)
def test_it_starts_as_the_body_and_merges_into_it(name: str) -> None:
    torch.manual_seed(0)
    body, adapter = BODIES[name]().eval(), Lora(rank=2, dropout=None if "call" in name else 0.1)
    names, images = set(body.state_dict()), torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        before = body(images)
        trained = adapter.attach(body)
        assert torch.equal(body(images), before)
        for parameter in trained:
            parameter.add_(0.02 * torch.randn(parameter.shape))
        moved = body(images)
        assert all(p.requires_grad for p in trained) and sum(p.requires_grad for p in body.parameters()) == len(trained)
        assert (moved - before).abs().max() > 1e-3
        adapter.merge(body)
        assert torch.equal(body(images), moved) and set(body.state_dict()) == names
    assert not any(p.requires_grad for p in body.parameters()) and not any(part._forward_hooks for part in body.modules())


def test_counts_of_a_vision_transformer() -> None:
    body = BODIES["timm_vit"]()
    blocks = 2 * 12 * ((192 + 576) + (192 + 192) + (192 + 768) + (768 + 192))
    patches = 2 * (3 * 16 * 16 + 192)
    assert sum(p.numel() for p in Lora(rank=2).attach(body)) == blocks + patches
    only = Lora(rank=2, targets=["*attn.qkv", "*attn.proj"]).attach(BODIES["timm_vit"]())
    assert sum(p.numel() for p in only) == 2 * 12 * ((192 + 576) + (192 + 192))


def test_an_attached_body_is_in_the_mode_that_it_was_in() -> None:
    backbone = Conv4(width=4)
    body = Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, (3, 32, 32)), "32", {})
    body.attach(Lora(dropout=0.5))
    for parameter in body.trainable:
        nn.init.normal_(parameter)
    images = torch.randn(2, 3, 32, 32)
    assert torch.equal(body(images), body(images))
    assert not torch.equal(body.train()(images), body(images))


def test_bad_targets_and_dropout_are_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"no linear or convolutional layer of Conv4 matches '\*qkv', among its 4 are .*blocks.3.0"
    ):
        Lora(targets=["blocks.0*", "*qkv"]).attach(Conv4())
    of(StdConv2d(3, 4, 3), rank=1)
    with pytest.raises(ConfigError, match=r"is a StdConv2d, which does more .*adapter.dropout=null"):
        Lora(rank=1, dropout=0.1).attach(One(StdConv2d(3, 4, 3)))


def test_merged_weights_are_those_of_the_formula() -> None:
    layer = nn.Conv2d(3, 4, 3)
    body, adapter, delta = of(layer, rank=2, alpha=3.0)
    weight = layer.parametrizations.weight.original.double().flatten(1) + 1.5 * delta.up.double() @ delta.down.double()  # type: ignore[union-attr]
    adapter.merge(body)
    torch.testing.assert_close(layer.weight.double().flatten(1), weight, rtol=0, atol=1e-5)
