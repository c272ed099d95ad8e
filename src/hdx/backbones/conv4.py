"""Conv-4: the four-block body of the few-shot literature."""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from hdx.backbones._base import Backbone, Block, InputSpec
from hdx.backbones._weights import load_weights
from hdx.options import FilePath, PositiveInt

N_BLOCKS = 4


def block(n_in: int, n_out: int) -> nn.Sequential:
    """3x3 convolution, batch norm, ReLU, 2x2 max pooling."""
    return nn.Sequential(nn.Conv2d(n_in, n_out, 3, padding=1), nn.BatchNorm2d(n_out), nn.ReLU(inplace=True), nn.MaxPool2d(2))


class Conv4(Backbone):
    """Four blocks of convolution, batch norm, ReLU and pooling; randomly initialised unless a checkpoint is given.

    At 84 px the papers flatten the 5 x 5 map to 1,600 features; here the pool decides, so `pool=avg` gives `width`.

    Source: Vinyals et al. 2016, "Matching Networks"; Snell et al. 2017, "Prototypical Networks".

    Args:
        width: channels of every block, and number of features.
        checkpoint: a file of weights to load.
        image_size: side in pixels of what the body sees; None: the dataset's own size, but at least 28.
    """

    def __init__(
        self, *, width: PositiveInt = 64, checkpoint: FilePath | None = None, image_size: PositiveInt | None = None
    ) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(block(3 if i == 0 else width, width) for i in range(N_BLOCKS))
        self.n_features = width
        self.input_spec = InputSpec(image_size, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5), min_size=28)
        if checkpoint:
            load_weights(self, Path(checkpoint))

    def forward(self, images: Tensor) -> Tensor:
        """[B, 3, S, S] -> [B, width, S/16, S/16]."""
        for layer in self.blocks:
            images = layer(images)
        return images

    def named_blocks(self) -> list[Block]:
        """The four blocks."""
        return [Block(f"blocks.{i}", self.n_features) for i in range(N_BLOCKS)]

    def last_block(self) -> list[nn.Module]:
        """The fourth block."""
        return [self.blocks[-1]]
