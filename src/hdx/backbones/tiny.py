"""Tiny: the small residual body that ships with pretrained weights, so that hdx works without a network.

Its weights are made by `hdx pretrain` from images drawn by formulas (dataset `formulas`); no photograph was used.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from hdx.backbones import _base
from hdx.backbones._base import Backbone, InputSpec
from hdx.options import FilePath

WEIGHTS = Path(__file__).with_name("tiny.safetensors")
WIDTHS = (32, 64, 128, 192)


class Block(nn.Module):
    """Basic residual block (He et al. 2016): two 3x3 convolutions, projection shortcut where the shape changes."""

    def __init__(self, n_in: int, n_out: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or n_in != n_out:
            self.shortcut = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, h, w] -> [B, n_out, h/stride, w/stride]."""
        y = self.relu(self.bn1(self.conv1(x)))
        return self.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class Tiny(Backbone):
    """Four-stage residual network, 0.9 M parameters, 192 features, pretrained on formula images.

    Source: architecture He et al. 2016 (basic blocks); pretraining after Kataoka et al. 2020 (formula-driven images).

    Args:
        pretrained: load the weights that ship with hdx.
        checkpoint: a file of weights to load instead.
        image_size: side in pixels of what the body sees; None: the dataset's own size, but at least 32.
    """

    def __init__(self, *, pretrained: bool = True, checkpoint: FilePath | None = None, image_size: int | None = None) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, WIDTHS[0], 3, 1, 1, bias=False), nn.BatchNorm2d(WIDTHS[0]), nn.ReLU(inplace=True))
        widths = (WIDTHS[0], *WIDTHS)
        self.stages = nn.ModuleList(
            Block(n_in, n_out, stride) for n_in, n_out, stride in zip(widths[:-1], widths[1:], (1, 2, 2, 2))
        )
        self.n_features = WIDTHS[-1]
        self.input_spec = InputSpec(image_size, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25), min_size=32)
        if checkpoint or pretrained:
            from hdx.backbones._weights import load_weights

            load_weights(self, Path(checkpoint) if checkpoint else WEIGHTS)

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 192, S/8, S/8]."""
        x = self.stem(images)
        for stage in self.stages:
            x = stage(x)
        return x

    def scale_features(self, factor: float) -> None:
        """Multiply the features by `factor` > 0, exactly: the last sum of norms goes through a ReLU, which commutes with it."""
        last = self.stages[-1]
        assert isinstance(last, Block) and isinstance(last.shortcut, nn.Sequential)
        with torch.no_grad():
            for affine in (*last.bn2.parameters(), *last.shortcut[1].parameters()):
                affine.mul_(factor)

    def named_blocks(self) -> list[_base.Block]:
        """The four stages."""
        return [_base.Block(f"stages.{i}", width) for i, width in enumerate(WIDTHS)]

    def last_block(self) -> list[nn.Module]:
        """The fourth stage."""
        return [self.stages[-1]]
