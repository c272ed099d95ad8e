"""FiLM on real architectures: identity at the start, merged outputs equal to unmerged ones, parameter counts."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from hdx.adapters.film import Film
from hdx.backbones.timm import Timm

BODIES = {"resnet18": 64, "vit_tiny_patch16_224": 64, "efficientnet_b0": 64, "convnext_atto": 64}


def body(name: str) -> Timm:
    torch.manual_seed(0)
    backbone = Timm(model=name, image_size=BODIES[name]).eval()
    for module in backbone.modules():  # statistics and affine maps as after training, not the identity of a fresh network
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(std=0.2)
            module.running_var.uniform_(0.5, 2)
        if isinstance(module, (nn.BatchNorm2d, nn.LayerNorm)) and isinstance(module.weight, nn.Parameter):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, std=0.2)
    return backbone


@pytest.mark.parametrize("name", BODIES)
def test_merge_changes_no_output(name):
    backbone = body(name).double()
    size = BODIES[name]
    x = torch.randn(2, 3, size, size, dtype=torch.float64)
    plain = backbone(x).detach()
    names = set(backbone.state_dict())
    n_channels = sum(
        m.weight.numel()
        for m in backbone.modules()
        if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm)) and isinstance(m.weight, nn.Parameter)
    )

    film = Film()
    trainable = film.attach(backbone)
    assert sum(p.numel() for p in trainable) == 2 * n_channels
    assert {id(p) for p in trainable} == {id(p) for p in backbone.parameters() if p.requires_grad}
    assert torch.equal(backbone(x), plain)  # the identity at first

    backbone(x).square().sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trainable)

    with torch.no_grad():
        for p in trainable:
            p.add_(0.1 * torch.randn_like(p))
    modulated = backbone(x).detach()
    assert (modulated - plain).abs().max() > 1e-3 * plain.abs().max()

    state = copy.deepcopy(backbone.state_dict())
    twin = copy.deepcopy(backbone)
    assert torch.equal(twin(x), modulated)
    with torch.no_grad():
        for p in twin.parameters():
            if p.requires_grad:
                p.mul_(1.5)
    assert torch.equal(backbone(x), modulated)  # the copy has its own gamma and beta
    twin.load_state_dict(state)
    assert torch.equal(twin(x), modulated)

    film.merge(backbone)
    assert (backbone(x) - modulated).abs().max() <= 1e-12 * modulated.abs().max()
    assert set(backbone.state_dict()) == names
    assert not any(p.requires_grad for p in backbone.parameters())


@pytest.mark.parametrize("name", ["resnet18", "vit_tiny_patch16_224"])
def test_film_is_a_scale_and_shift_of_the_norms_output(name):
    """The oracle: forward hooks that multiply and add after each norm, on an untouched copy of the body."""
    backbone = body(name)
    oracle = copy.deepcopy(backbone)
    trainable = Film().attach(backbone)
    with torch.no_grad():
        for p in trainable:
            p.add_(0.1 * torch.randn_like(p))

    def hook(gamma, beta):
        shape = (1, -1, 1, 1) if name == "resnet18" else (-1,)
        return lambda module, inputs, output: gamma.reshape(shape) * output + beta.reshape(shape)

    layers = [m for m in oracle.modules() if isinstance(m, (nn.BatchNorm2d, nn.LayerNorm))]
    assert 2 * len(layers) == len(trainable)
    for layer, gamma, beta in zip(layers, trainable[::2], trainable[1::2]):
        layer.register_forward_hook(hook(gamma, beta))
    x = torch.randn(2, 3, 64, 64)
    torch.testing.assert_close(backbone(x), oracle(x), atol=1e-4, rtol=1e-4)
