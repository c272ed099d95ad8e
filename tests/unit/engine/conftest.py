"""A small dataset and body for engine tests."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hdx.backbones.tiny import Tiny
from hdx.body import Body
from hdx.datasets._base import Dataset
from hdx.datasets.digits import Digits
from hdx.datasets.transforms import EvalTransform
from hdx.pools.avg import Avg


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return Digits(None, tmp_path_factory.mktemp("cache"))


def make_body(image_shape: tuple[int, int, int], seed: int = 0, precision: str = "32") -> Body:
    torch.manual_seed(seed)
    backbone = Tiny(pretrained=False)
    return Body(backbone, Avg(backbone), EvalTransform(backbone.input_spec, image_shape), precision, {"backbone": "tiny"})


@pytest.fixture
def body(digits: Dataset) -> Body:
    return make_body(digits.train.image_shape)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "bank"
