"""Pools against loops over positions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from hdx.backbones.conv4 import Conv4
from hdx.backbones.timm import Timm
from hdx.errors import ConfigError
from hdx.pools.avg import Avg
from hdx.pools.cls import Cls
from hdx.pools.gem import GeM


@pytest.fixture(scope="module")
def vit() -> Timm:
    return Timm(model="vit_tiny_patch16_224", image_size=32)


def test_avg_of_a_map_and_of_patch_tokens(vit):
    x = torch.randn(2, 64, 3, 5)
    torch.testing.assert_close(Avg(Conv4())(x), x.flatten(2).sum(2) / 15)
    tokens = torch.randn(2, 5, 192)
    torch.testing.assert_close(Avg(vit)(tokens), (tokens[:, 1] + tokens[:, 2] + tokens[:, 3] + tokens[:, 4]) / 4)
    assert Avg(vit).n_features == 192


def test_cls_is_the_first_token_and_needs_one(vit):
    tokens = torch.randn(2, 5, 192)
    assert torch.equal(Cls(vit)(tokens), tokens[:, 0])
    with pytest.raises(ConfigError, match=r"pool=cls needs a class token.*pool=avg"):
        Cls(Conv4())


@pytest.mark.parametrize("p", [1.0, 3.0, 4.5])
def test_gem_against_a_loop(p):
    x = np.random.default_rng(0).normal(size=(2, 64, 3, 4))
    expected = np.zeros((2, 64))
    for b in range(2):
        for d in range(64):
            values = [max(v, 1e-6) ** p for v in x[b, d].ravel()]
            expected[b, d] = (sum(values) / 12) ** (1 / p)
    ours = GeM(Conv4(), p=p)(torch.from_numpy(x).float())
    np.testing.assert_allclose(ours.numpy(), expected, rtol=2e-5)


def test_gem_goes_from_mean_to_maximum_and_skips_prefix_tokens(vit):
    x = torch.rand(2, 64, 3, 4) + 0.1
    torch.testing.assert_close(GeM(Conv4(), p=1.0)(x), x.mean((2, 3)))
    torch.testing.assert_close(GeM(Conv4(), p=60.0)(x), x.amax((2, 3)), rtol=0.05, atol=0)
    tokens = torch.rand(2, 5, 192)
    changed = tokens.clone()
    changed[:, 0] = 99
    assert torch.equal(GeM(vit)(tokens), GeM(vit)(changed))


def test_gem_learns_its_exponent_only_when_asked():
    assert list(GeM(Conv4()).parameters()) == []
    pool = GeM(Conv4(), learn=True)
    pool(torch.rand(2, 64, 3, 4)).sum().backward()
    assert pool.p.grad.abs() > 0
    assert GeM(Conv4())(torch.rand(2, 64, 3, 4).bfloat16()).dtype == torch.bfloat16
