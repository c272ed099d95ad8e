"""BitFit trains the biases and nothing else; what holds for every adapter is in `test_contract`."""

from __future__ import annotations

import pytest
from torch import nn

from hdx.adapters.bitfit import BitFit
from hdx.backbones.resnet_cifar import ResNetCifar
from hdx.backbones.timm import Timm
from hdx.errors import ConfigError


def test_counts() -> None:
    vit = Timm(model="test_vit", image_size=32)
    per_block = 64 + 192 + 64 + 64 + 192 + 64  # norm1, qkv, proj, norm2, fc1, fc2
    assert sum(p.numel() for p in BitFit().attach(vit)) == 6 * per_block + 64 + 64  # the last norm, the patches
    resnet = ResNetCifar(depth=8)
    assert sum(p.numel() for p in BitFit().attach(resnet)) == 16 * 3 + 32 * 2 + 64 * 2
    assert {name for name, p in resnet.named_parameters() if p.requires_grad} == {
        name for name, _ in resnet.named_parameters() if name.endswith(".bias")
    }


def test_a_body_without_biases_is_refused() -> None:
    resnet = ResNetCifar(depth=8)
    for module in resnet.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.bias = None
    with pytest.raises(ConfigError, match=r"ResNetCifar has no biases\.  \(try adapter=lora"):
        BitFit().attach(resnet)
