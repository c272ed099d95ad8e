"""Blocks of every body by name, what they give on the way, and a transformer in pieces."""

from __future__ import annotations

import copy

import pytest
import timm
import torch
from torch import Tensor

from hdx import registry
from hdx.backbones.tiny import Tiny
from hdx.body import Body
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError
from hdx.pools.avg import Avg

BODIES = [
    {"name": "tiny", "pretrained": False},
    {"name": "conv4", "width": 6},
    {"name": "resnet_cifar", "depth": 20, "width": 4},
    {"name": "timm", "model": "resnet18", "image_size": 32},
    {"name": "timm", "model": "test_vit", "image_size": 32},
    {"name": "timm", "model": "test_convnext", "image_size": 64},
    {"name": "timm", "model": "swin_tiny_patch4_window7_224", "image_size": 224},  # maps with channels last
]
named = pytest.mark.parametrize("options", BODIES, ids=lambda options: options.get("model", options["name"]))


def made(options: dict[str, object]) -> tuple[Body, Tensor]:
    torch.manual_seed(0)
    backbone = registry.build("backbone", options)
    size = max(backbone.input_spec.image_size or 0, backbone.input_spec.min_size)
    transform = EvalTransform(backbone.input_spec, (3, size, size))
    return Body(backbone, Avg(backbone), transform, "32", {}), torch.randn(1, 3, size, size)


@named
def test_taps_are_what_the_blocks_give_and_change_nothing(options: dict[str, object]) -> None:
    body, images = made(options)
    blocks = body.backbone.named_blocks()
    assert len({block.name for block in blocks}) == len(blocks) >= 2
    taps = (0, -2, blocks[-1].name)
    features, found = body.tapped(images, taps)
    assert torch.equal(features, body(images)) and tuple(found) == taps
    for tap in taps:
        own = body.backbone.block(tap)
        assert found[tap].shape[-1 if found[tap].ndim == 3 else 1] == own.channels
        assert body.averaged(found[tap]).shape == (1, own.channels)
    assert not any(part._forward_hooks for part in copy.deepcopy(body).modules())
    with pytest.raises(ConfigError, match=rf"has no block nine: its blocks are {blocks[0].name}, "):
        body.tapped(images, ("nine",))


def test_a_block_is_what_timm_takes_features_from() -> None:
    body, images = made({"name": "timm", "model": "resnet18", "image_size": 32})
    model = timm.create_model("resnet18", features_only=True).eval()
    model.load_state_dict({name.removeprefix("body."): value for name, value in body.backbone.state_dict().items()})
    assert [block.name for block in body.backbone.named_blocks()] == [f"body.{name}" for name in model.feature_info.module_name()]
    for number, expected in enumerate(model(images)):
        torch.testing.assert_close(body.tapped(images, (number,))[1][number], expected)


def test_the_last_block_of_tiny_is_its_map() -> None:
    body, images = made(BODIES[0])
    features, found = body.tapped(images, (-1, 3))
    assert torch.equal(found[-1], found[3]) and torch.equal(body.averaged(found[3]), features)


@pytest.mark.parametrize("model", ["test_vit", "test_vit3", "deit3_small_patch16_224", "vit_small_patch16_dinov3"])
def test_a_transformer_runs_in_pieces(model: str) -> None:
    body, images = made({"name": "timm", "model": model, "image_size": 224 if "deit" in model else 32})
    backbone = body.backbone
    if "dinov3" in model:  # its blocks also take the rotations of the positions
        with pytest.raises(ConfigError, match="backbone Timm is no vision transformer whose tokens can be worked on"):
            backbone.embed(images)
        return
    tokens = backbone.embed(images)
    assert torch.equal(backbone.run(tokens), backbone(images))
    depth = len(backbone.named_blocks())
    for start in range(depth):
        tokens = backbone.run(tokens, start, start + 1)
    assert torch.equal(backbone.run(tokens, depth), backbone(images))


def test_a_convolutional_body_has_no_tokens() -> None:
    with pytest.raises(ConfigError, match="backbone Tiny is no vision transformer"):
        Tiny(pretrained=False).embed(torch.zeros(1, 3, 32, 32))
