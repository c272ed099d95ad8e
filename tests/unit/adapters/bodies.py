"""Small bodies for the tests of adapters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from hdx import registry
from hdx.adapters._base import Adapter
from hdx.backbones._base import Backbone
from hdx.backbones.conv4 import Conv4
from hdx.backbones.timm import Timm
from hdx.body import Body
from hdx.datasets.transforms import EvalTransform
from hdx.errors import ConfigError
from hdx.pools.avg import Avg

IMAGES = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
BACKBONES: dict[str, Callable[[], Backbone]] = {
    "conv4": lambda: Conv4(width=4),
    "vit": lambda: Timm(model="test_vit", image_size=32),
}


def made(backbone: str, seed: int = 0) -> Body:
    """A body without an adapter, its weights drawn from `seed`."""
    torch.manual_seed(seed)
    own = BACKBONES[backbone]()
    return Body(own, Avg(own), EvalTransform(own.input_spec, (3, 32, 32)), "32", {"backbone": backbone})


def adapted(adapter: str, **options: Any) -> Body:
    """A convolutional body with the adapter of that name, or a transformer where it is for those."""
    for backbone in BACKBONES:
        body = made(backbone)
        try:
            torch.manual_seed(1)
            built: Adapter = registry.build("adapter", {"name": adapter, **options})
            body.attach(built)
            return body.eval()
        except ConfigError:
            continue
    raise AssertionError(f"no body takes adapter={adapter}")


def moved(body: Body, by: float = 0.05) -> None:
    """Move everything of the body that trains."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in body.trainable:
            parameter.add_(by * torch.randn(parameter.shape, generator=generator))


@torch.no_grad()
def features(body: Body) -> Tensor:
    return body(IMAGES[:, :, : body.transform.size, : body.transform.size])
