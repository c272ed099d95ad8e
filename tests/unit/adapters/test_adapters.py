"""Which parameters of a body train under each adapter, and in which mode the body trains."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hdx.adapters.bn import NormAffine
from hdx.adapters.film import Film
from hdx.adapters.full import Full
from hdx.adapters.last_block import LastBlock
from hdx.adapters.none import NoAdapter
from hdx.backbones._base import Backbone, InputSpec
from hdx.backbones.conv4 import Conv4
from hdx.backbones.resnet_cifar import ResNetCifar
from hdx.backbones.timm import Timm
from hdx.errors import ConfigError


class Plain(Backbone):
    """A body of the test: whatever layers it is given, one after the other."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)
        self.n_features = 4
        self.input_spec = InputSpec(8, (0, 0, 0), (1, 1, 1))

    def forward(self, images):
        return self.layers(images)

    def last_block(self):
        return [self.layers[-1]]


def count(parameters) -> int:
    return sum(p.numel() for p in parameters)


def trained_names(backbone) -> set[str]:
    return {name for name, p in backbone.named_parameters() if p.requires_grad}


def test_counts_on_resnet20():
    widths = 16 * 7 + 32 * 6 + 64 * 6  # channels of the 19 batch norms
    assert NoAdapter().attach(ResNetCifar()) == []
    assert count(Full().attach(ResNetCifar())) == 269_072
    assert count(NormAffine().attach(ResNetCifar())) == 2 * widths
    assert count(Film().attach(ResNetCifar())) == 2 * widths
    assert count(LastBlock().attach(ResNetCifar())) == 2 * (64 * 64 * 9 + 2 * 64)


@pytest.mark.parametrize("adapter", [NoAdapter(), Full(), NormAffine(), Film(), LastBlock()])
def test_what_is_returned_is_exactly_what_requires_a_gradient(adapter):
    backbone = ResNetCifar()
    returned = adapter.attach(backbone)
    assert [id(p) for p in returned] == [id(p) for p in dict.fromkeys(returned)]
    assert {id(p) for p in returned} == {id(p) for p in backbone.parameters() if p.requires_grad}


def test_bn_and_last_block_names():
    backbone = Conv4()
    NormAffine().attach(backbone)
    assert trained_names(backbone) == {f"blocks.{i}.1.{name}" for i in range(4) for name in ("weight", "bias")}
    LastBlock().attach(backbone)
    assert trained_names(backbone) == {f"blocks.3.{i}.{name}" for i in (0, 1) for name in ("weight", "bias")}


@pytest.mark.parametrize(
    ("adapter", "moves"),
    [
        (NoAdapter(), set()),
        (Film(), set()),
        (NormAffine(statistics="frozen"), set()),
        (NormAffine(), {0, 1, 2, 3}),
        (Full(), {0, 1, 2, 3}),
        (LastBlock(), set()),
        (LastBlock(statistics="batch"), {3}),
    ],
)
def test_training_mode_says_which_running_statistics_move(adapter, moves):
    torch.manual_seed(0)
    backbone = Conv4()
    adapter.attach(backbone)
    backbone.train()
    adapter.training_mode(backbone)
    before = [block[1].running_mean.clone() for block in backbone.blocks]
    backbone(torch.randn(4, 3, 32, 32))
    assert {i for i, block in enumerate(backbone.blocks) if not torch.equal(block[1].running_mean, before[i])} == moves


@pytest.mark.parametrize("adapter", [Film(), NormAffine()])
def test_a_body_without_norms_is_refused(adapter):
    with pytest.raises(ConfigError, match=r"Plain has no normalisation layers.*adapter=none"):
        adapter.attach(Plain(nn.Conv2d(3, 4, 3)))


def test_a_body_without_parameters_is_refused():
    for adapter in (Full(), LastBlock()):
        with pytest.raises(ConfigError, match=r"no parameters"):
            adapter.attach(Plain(nn.ReLU()))


@pytest.mark.parametrize("make", [lambda: nn.BatchNorm2d(4, affine=False), lambda: nn.GroupNorm(2, 4, affine=False)])
def test_a_norm_without_affine_parameters_gets_identity_ones(make):
    torch.manual_seed(0)
    for adapter in (Film(), NormAffine()):
        backbone = Plain(nn.Conv2d(3, 4, 3), make()).eval()
        x = torch.randn(2, 3, 8, 8)
        before = backbone(x)
        assert count(adapter.attach(backbone)) == 8
        torch.testing.assert_close(backbone(x), before)
        adapter.merge(backbone)
        torch.testing.assert_close(backbone(x), before)


def test_group_layer_and_rms_norms_are_modulated():
    torch.manual_seed(0)
    backbone = Plain(nn.Linear(4, 4), nn.LayerNorm(4, bias=False), nn.Linear(4, 4), nn.RMSNorm(4)).eval()
    trainable = Film().attach(backbone)
    assert [p.numel() for p in trainable] == [4, 4, 4]  # the RMS norm's forward pass knows no shift
    with torch.no_grad():
        for p in trainable:
            p.add_(torch.randn(4))
    x = torch.randn(3, 4)
    before = backbone(x)
    Film().merge(backbone)
    torch.testing.assert_close(backbone(x), before)
    assert type(backbone.layers[1]) is nn.LayerNorm


def test_film_leaves_weights_and_statistics_of_the_body_alone():
    torch.manual_seed(0)
    backbone = ResNetCifar()
    film = Film()
    trainable = film.attach(backbone)
    frozen = {n: t.clone() for n, t in backbone.state_dict().items() if "gamma" not in n and "beta" not in n}
    film.training_mode(backbone)
    optimiser = torch.optim.Adam(trainable, lr=0.01)
    for _ in range(3):
        optimiser.zero_grad()
        backbone(torch.randn(4, 3, 32, 32)).square().mean().backward()
        optimiser.step()
    assert all(torch.equal(backbone.state_dict()[name], value) for name, value in frozen.items())
    assert all((p - (1 if i % 2 == 0 else 0)).abs().max() > 0 for i, p in enumerate(trainable))


def test_last_block_of_timm_models():
    resnet, vit = Timm(model="resnet18", image_size=64), Timm(model="vit_tiny_patch16_224", image_size=64)
    LastBlock().attach(resnet)
    assert {name.rpartition(".")[0] for name in trained_names(resnet)} == {
        f"body.layer4.1.{part}" for part in ("conv1", "bn1", "conv2", "bn2")
    }
    LastBlock().attach(vit)
    assert {".".join(name.split(".")[:3]) for name in trained_names(vit)} == {
        "body.blocks.11",
        "body.norm.weight",
        "body.norm.bias",
    }
    efficientnet = Timm(model="efficientnet_b0", image_size=64)
    LastBlock().attach(efficientnet)
    assert {".".join(name.split(".")[1:3]) for name in trained_names(efficientnet)} == {
        "blocks.6", "conv_head.weight", "bn2.weight", "bn2.bias",
    }  # fmt: skip
