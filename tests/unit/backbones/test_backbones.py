"""Shapes, layouts, input specs and errors of the backbones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch.nn import functional as F

from hdx.backbones.conv4 import Conv4
from hdx.backbones.resnet_cifar import BasicBlock, ResNetCifar
from hdx.backbones.timm import Timm
from hdx.errors import ConfigError, WeightsError


def n_parameters(module) -> int:
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(("depth", "expected"), [(20, 269_072), (32, 463_504), (56, 852_368), (110, 1_727_312)])
def test_resnet_cifar_sizes(depth, expected):
    """He et al. 2016, table 6: 0.27, 0.46, 0.85 and 1.7 M parameters; here without the classifier's 650."""
    assert n_parameters(ResNetCifar(depth=depth)) == expected


@pytest.mark.parametrize(("depth", "expected"), [(8, 1_233_540), (32, 7_433_860)])
def test_the_wide_pair_of_papers_on_distillation(depth, expected):
    """ResNet-8x4 and -32x4 have 1.23 M and 7.43 M parameters with the classifier of CIFAR-100, which is 25,700 of them."""
    backbone = ResNetCifar(depth=depth, width=64, stem=32, shortcut="projection")
    assert n_parameters(backbone) + 25_700 == expected
    assert backbone(torch.zeros(2, 3, 32, 32)).shape == (2, 256, 8, 8)
    names = {name for name in backbone.state_dict() if "downsample" in name and name.endswith("weight")}
    assert names == {f"layer{stage}.0.downsample.{part}.weight" for stage in (1, 2, 3) for part in (0, 1)}


def test_a_projection_is_a_convolution_of_one_pixel_and_a_norm():
    torch.manual_seed(0)
    block, x = BasicBlock(4, 6, 2, projection=True).double().eval(), torch.randn(2, 4, 8, 8).double()
    for part in (block.bn1, block.bn2, block.downsample[1]):
        part.running_mean.normal_(), part.running_var.uniform_(0.5, 2)
    y = block.bn2(block.conv2(F.relu(block.bn1(block.conv1(x)))))
    weight, norm = block.downsample[0].weight[:, :, 0, 0], block.downsample[1]
    side = torch.einsum("oi,bihw->bohw", weight, x[:, :, ::2, ::2])
    side = (side - norm.running_mean[:, None, None]) / (norm.running_var[:, None, None] + norm.eps).sqrt()
    torch.testing.assert_close(block(x), F.relu(y + side))


def test_conv4_and_resnet_cifar_shapes():
    assert Conv4()(torch.zeros(2, 3, 28, 28)).shape == (2, 64, 1, 1)
    assert Conv4()(torch.zeros(2, 3, 84, 84)).shape == (2, 64, 5, 5)
    assert n_parameters(Conv4()) == 3 * 64 * 9 + 3 * 64 * 64 * 9 + 4 * 3 * 64
    assert ResNetCifar(width=8)(torch.zeros(2, 3, 32, 32)).shape == (2, 32, 8, 8)
    assert ResNetCifar(width=8).n_features == 32


def test_cifar10_weights_load_and_give_the_known_network(data_dir):
    path = data_dir / "resnet20_cifar10.safetensors"
    backbone = ResNetCifar(checkpoint=str(path)).eval()
    assert backbone.conv1.weight.abs().sum() > 0
    torch.manual_seed(0)
    x = torch.randn(2, 3, 32, 32)
    from safetensors.torch import load_file

    w = load_file(path)

    def bn(y, name):
        return F.batch_norm(y, *(w[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")))

    y = F.relu(bn(F.conv2d(x, w["conv1.weight"], padding=1), "bn1"))
    for stage in (1, 2, 3):
        for block in range(3):
            name, stride = f"layer{stage}.{block}", 2 if stage > 1 and block == 0 else 1
            z = F.relu(bn(F.conv2d(y, w[f"{name}.conv1.weight"], stride=stride, padding=1), f"{name}.bn1"))
            z = bn(F.conv2d(z, w[f"{name}.conv2.weight"], padding=1), f"{name}.bn2")
            if stride == 2:  # option A: subsample, and a quarter of the new channels of zeros on either side
                side = torch.zeros(2, y.shape[1] // 2, *z.shape[2:])
                y = torch.cat([side, y[:, :, ::2, ::2], side], dim=1)
            y = F.relu(z + y)
    torch.testing.assert_close(backbone(x), y, atol=1e-5, rtol=1e-5)
    assert backbone(x).shape == (2, 64, 8, 8)


def test_the_wrong_depth_is_refused(data_dir):
    with pytest.raises(WeightsError, match=r"does not fit ResNetCifar .*missing \(layer1.3.conv1.weight"):
        ResNetCifar(depth=32, checkpoint=str(data_dir / "resnet20_cifar10.safetensors"))


@pytest.mark.parametrize(
    ("model", "size", "layout", "shape", "prefix", "has_cls"),
    [
        ("resnet18", 64, "map", (2, 512, 2, 2), 0, False),
        ("vit_tiny_patch16_224", 64, "tokens", (2, 17, 192), 1, True),
        ("vit_small_patch14_reg4_dinov2", 56, "tokens", (2, 21, 384), 5, True),
        ("swin_tiny_patch4_window7_224", 224, "map", (2, 768, 7, 7), 0, False),  # NHWC inside
        ("mixer_s32_224", 224, "tokens", (2, 49, 512), 0, False),
        ("mobilenetv3_small_050", 64, "map", (2, 288, 2, 2), 0, False),
    ],
)
def test_timm_layouts(model, size, layout, shape, prefix, has_cls):
    backbone = Timm(model=model, image_size=size).eval()
    assert (backbone.layout, backbone.n_prefix_tokens, backbone.has_cls) == (layout, prefix, has_cls)
    x = torch.randn(2, 3, size, size)
    y = backbone(x)
    assert y.shape == shape
    assert backbone.n_features == (shape[1] if layout == "map" else shape[2])
    y.sum().backward()
    assert all(p.grad is not None for p in backbone.parameters())  # nothing unused that DDP would wait for
    assert backbone.last_block()


def test_swin_is_permuted_not_reshaped():
    backbone = Timm(model="swin_tiny_patch4_window7_224").eval()
    x = torch.randn(1, 3, 224, 224)
    inside = backbone.body.forward_features(x)  # [1, 7, 7, 768]
    assert torch.equal(backbone(x)[0, :, 2, 5], inside[0, 2, 5])


def test_input_spec_is_timms():
    spec = Timm(model="vit_small_patch16_224.augreg_in21k").input_spec
    assert (spec.image_size, spec.mean, spec.std) == (224, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert (spec.interpolation, spec.crop) == ("bicubic", 0.9)
    spec = Timm(model="resnet18", image_size=48).input_spec
    assert spec.image_size == 48
    np.testing.assert_allclose(spec.mean, (0.485, 0.456, 0.406))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("resnet81", r"timm has no such model. Did you mean 'resne"),
        ("resnet18.a1_in2k", r"resnet18 has no weights 'a1_in2k'. Did you mean 'a1_in1k'"),
    ],
)
def test_unknown_names_get_advice(model, message):
    with pytest.raises(ConfigError, match=message):
        Timm(model=model)


def test_pretrained_without_network_or_cache_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match=r"backbone.checkpoint=…, or run once with a network"):
        Timm(model="resnet18.a1_in1k", pretrained=True)
    with pytest.raises(WeightsError, match=r"has no pretrained weights"):
        Timm(model="mixer_s32_224", pretrained=True)


def test_cached_pretrained_weights_load_without_a_network(monkeypatch, tmp_path):
    torch.manual_seed(0)
    import timm

    source = timm.create_model("resnet18")
    folder = tmp_path / "models--timm--resnet18.a1_in1k"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("0" * 40)
    (folder / "snapshots" / ("0" * 40)).mkdir(parents=True)
    save_file(source.state_dict(), folder / "snapshots" / ("0" * 40) / "model.safetensors")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    backbone = Timm(model="resnet18.a1_in1k", pretrained=True, image_size=64)
    assert torch.equal(backbone.body.layer4[1].conv2.weight, source.layer4[1].conv2.weight)
    assert backbone.input_spec.crop == 0.95


def test_checkpoint_of_a_vit_at_another_size_is_resampled(tmp_path):
    torch.manual_seed(0)
    source = Timm(model="vit_tiny_patch16_224", image_size=64)
    save_file(source.body.state_dict(), tmp_path / "vit.safetensors")
    same = Timm(model="vit_tiny_patch16_224", image_size=64, pretrained=True, checkpoint=str(tmp_path / "vit.safetensors"))
    x = torch.randn(1, 3, 64, 64)
    assert torch.equal(same.eval()(x), source.eval()(x))
    larger = Timm(model="vit_tiny_patch16_224", image_size=96, checkpoint=str(tmp_path / "vit.safetensors"))
    assert larger.eval()(torch.randn(1, 3, 96, 96)).shape == (1, 37, 192)
    assert torch.equal(larger.body.blocks[0].attn.qkv.weight, source.body.blocks[0].attn.qkv.weight)
    with pytest.raises(WeightsError, match="does not fit"):
        Timm(model="resnet18", image_size=64, checkpoint=str(tmp_path / "vit.safetensors"))
