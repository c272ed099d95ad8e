"""LoRA: a trained low-rank change of the weights of linear and convolutional layers."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.adapters._base import Adapter
from hdx.adapters._layers import CONVOLUTIONS, Layer, applied, change_weight, chosen, deltas, merge_weights
from hdx.backbones._base import Backbone
from hdx.errors import ConfigError
from hdx.options import OpenFraction, PositiveFloat, PositiveInt

PLAIN = (nn.Linear, *CONVOLUTIONS)


class LowRank(nn.Module):
    """weight -> weight + scale * up @ down, with down [r, in * kernel] and up [out, r] = 0.

    Args:
        layer: whose weight [out, in, ...] it is for.
        rank: r.
        scale: see above.
        dropout: probability with which `down` does not see an input, while training.
    """

    def __init__(self, layer: Layer, rank: int, scale: float, dropout: float) -> None:
        super().__init__()
        self.scale, self.dropout, self.shape = scale, dropout, layer.weight.shape
        down = torch.empty(rank, self.shape[1:].numel())
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))  # on the CPU, so that every device gets the same
        self.down = nn.Parameter(down.to(layer.weight))
        self.up = nn.Parameter(torch.zeros(self.shape[0], rank).to(layer.weight))

    def delta(self) -> Tensor:
        """The change of the weight."""
        with torch.autocast(self.up.device.type, enabled=False):
            return self.scale * (self.up @ self.down).view(self.shape)

    def forward(self, weight: Tensor) -> Tensor:
        """The changed weight."""
        return weight + self.delta()

    def dropped(self, layer: Layer, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        """A layer's output as if only the change of its weight had lost a part of the inputs."""
        if not self.training:
            return output
        return output + applied(layer, F.dropout(inputs[0], self.dropout) - inputs[0], self.delta().to(output.dtype))


class Lora(Adapter):
    """LoRA: each chosen layer's weight W becomes W + s B A, with A and B of rank r trained and everything else frozen.

    B starts at zero, so that the body starts as it was; A is uniform (He et al. 2015, a = sqrt 5). A convolution's weight is
    taken as the matrix [out, in * kernel], which makes A a convolution to r channels and B one of size 1. W + s B A is what the
    layer computes with, in training as well, so that merging changes no bit, and a layer whose weight is read without a call
    (the qkv of BEiT) is changed like the others, dropout aside. Trained numbers: r (out + in * kernel) a layer. Biases and norms
    stay frozen, their statistics too.

    Source: Hu et al. 2022, "LoRA: Low-Rank Adaptation of Large Language Models"; convolutions and A's start as in loralib and
        peft; s = alpha / sqrt(r) after Kalajdzievski 2023, "A Rank Stabilization Scaling Factor" (rsLoRA), and in the code of
        CLIP-LoRA (Zanella and Ben Ayed 2024: q, k, v of every block, rank 2, alpha 1, dropout 0.25).
    Certainty: read in the authors' code.

    Args:
        rank: r.
        alpha: see `scaling`.
        scaling: s is alpha / r (rank) or alpha / sqrt(r) (sqrt_rank).
        targets: patterns of layers' names in the backbone; `*attn.qkv` takes the joint projection of a timm transformer, which
            has one A for q, k and v.
        dropout: probability with which A does not see an input of its layer, while training.
    """

    def __init__(
        self,
        *,
        rank: PositiveInt = 8,
        alpha: PositiveFloat = 8.0,
        scaling: Literal["rank", "sqrt_rank"] = "rank",
        targets: list[str] = ["*"],  # noqa: B006 - options are read as literals and never changed
        dropout: OpenFraction | None = None,
    ) -> None:
        super().__init__()
        self.rank, self.targets, self.dropout = rank, list(targets), dropout or 0.0
        self.scale = alpha / (rank if scaling == "rank" else math.sqrt(rank))

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze the backbone and change the weights of the chosen layers.

        Raises: ConfigError for a pattern that matches nothing, or dropout where the inputs of the change are not the layer's.
        """
        backbone.requires_grad_(False)
        trained: list[nn.Parameter] = []
        for name, layer in chosen(backbone, self.targets, "lora").items():
            if self.dropout and type(layer) not in PLAIN:
                raise ConfigError(
                    f"adapter.dropout: {name} is a {type(layer).__name__}, which does more with its inputs than a linear or "
                    "convolutional layer: leave it out of adapter.targets, or take adapter.dropout=null"
                )
            delta = LowRank(layer, self.rank, self.scale, self.dropout)
            change_weight(layer, delta)
            if self.dropout:
                layer.register_forward_hook(delta.dropped)
            trained += [delta.down, delta.up]
        return trained

    def training_mode(self, backbone: Backbone) -> None:
        """Eval mode, but for the dropout of what is added."""
        backbone.eval()
        for _, delta in deltas(backbone, LowRank):
            delta.train()

    def merge(self, backbone: Backbone) -> None:
        """W + s B A is the weight, a plain one."""
        merge_weights(backbone, LowRank)
