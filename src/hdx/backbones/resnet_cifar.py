"""CIFAR-style ResNet: three stages of basic blocks at 32, 16 and 8 px, shortcuts without parameters (option A) or with (B)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn
from torch.nn import functional as F

from hdx.backbones._base import Backbone, Block, InputSpec
from hdx.backbones._weights import load_weights
from hdx.options import FilePath, PositiveInt


class BasicBlock(nn.Module):
    """Two 3x3 convolutions; where the shape changes, the shortcut takes every second pixel and pads channels with zeros (option
    A), or is a 1x1 convolution and a norm (option B)."""

    def __init__(self, n_in: int, n_out: int, stride: int, projection: bool = False) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(n_in, n_out, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(n_out)
        self.conv2 = nn.Conv2d(n_out, n_out, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(n_out)
        self.stride, self.n_pad = stride, n_out - n_in
        self.downsample: nn.Module | None = None  # as checkpoints of this family name it
        if projection and (stride > 1 or n_in != n_out):
            self.downsample = nn.Sequential(nn.Conv2d(n_in, n_out, 1, stride, bias=False), nn.BatchNorm2d(n_out))

    def forward(self, x: Tensor) -> Tensor:
        """[B, n_in, h, w] -> [B, n_out, h/stride, w/stride]."""
        y = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(x)))))
        return F.relu(y + (self._padded(x) if self.downsample is None else self.downsample(x)))

    def _padded(self, x: Tensor) -> Tensor:
        shortcut = x[:, :, :: self.stride, :: self.stride]
        if self.n_pad:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.n_pad // 2, self.n_pad - self.n_pad // 2))
        return shortcut


class ResNetCifar(Backbone):
    """ResNet-8, -20, -32, -44, -56 or -110 for images of 32 px; 6n + 2 layers, features 4 x width.

    Randomly initialised (He et al. 2015) unless a checkpoint is given. Normalised with ImageNet's mean and std, as the
    public CIFAR-10 weights of this family are.

    Source: He et al. 2016, "Deep Residual Learning for Image Recognition", section 4.2. ResNet-8x4 and -32x4, the pair of papers
        on distillation (Tian et al. 2020, CRD): width 64, stem 32, shortcut projection.

    Args:
        depth: number of layers.
        width: channels of the first stage; the second has twice and the third four times as many.
        stem: channels of the first convolution; None: as many as the first stage.
        shortcut: where the shape changes, pad (option A, no parameters) or projection (option B).
        checkpoint: a file of weights to load; a classifier in it is left out.
        image_size: side in pixels of what the body sees; None: the dataset's own size, but at least 32.
    """

    def __init__(
        self,
        *,
        depth: Literal[8, 20, 32, 44, 56, 110] = 20,
        width: PositiveInt = 16,
        stem: PositiveInt | None = None,
        shortcut: Literal["pad", "projection"] = "pad",
        checkpoint: FilePath | None = None,
        image_size: PositiveInt | None = 32,
    ) -> None:
        super().__init__()
        n, first, projection = (depth - 2) // 6, stem or width, shortcut == "projection"
        self.conv1 = nn.Conv2d(3, first, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.layer1 = _stage(first, width, n, 1, projection)
        self.layer2 = _stage(width, 2 * width, n, 2, projection)
        self.layer3 = _stage(2 * width, 4 * width, n, 2, projection)
        self.n_features = 4 * width
        self.input_spec = InputSpec(image_size, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), min_size=32)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        if checkpoint:
            load_weights(self, Path(checkpoint))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, 4 width, S/4, S/4]."""
        x = F.relu(self.bn1(self.conv1(images)))
        return self.layer3(self.layer2(self.layer1(x)))

    def named_blocks(self) -> list[Block]:
        """The three stages."""
        return [Block(f"layer{i}", self.n_features * 2 ** (i - 1) // 4) for i in (1, 2, 3)]

    def last_block(self) -> list[nn.Module]:
        """The last block of the third stage."""
        return [self.layer3[-1]]


def _stage(n_in: int, n_out: int, n_blocks: int, stride: int, projection: bool) -> nn.Sequential:
    first = BasicBlock(n_in, n_out, stride, projection)
    return nn.Sequential(first, *(BasicBlock(n_out, n_out, 1) for _ in range(n_blocks - 1)))
