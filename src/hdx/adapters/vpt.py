"""VPT: trained prompt tokens between the class token and the patches of a frozen vision transformer."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.adapters._base import Adapter
from hdx.adapters._layers import layers
from hdx.backbones._base import Backbone
from hdx.options import OpenFraction, PositiveInt


class Vpt(Adapter):
    """Visual prompt tuning: n trained tokens stand after the prefix tokens (class, registers) of a frozen transformer.

    Shallow prompts enter before the first block and go through all of them; deep ones are new before every block, where those of
    the block before are dropped. Prompts are uniform in +-sqrt(6 / (P + D)), P the numbers of a patch. What the last block makes
    of them stays in the tokens, where pools skip it: `pool=cls` is the paper's head on the class token. The authors' projection
    of narrower prompts to D is left out. Prompts are no change of a weight, so that they cannot be merged and such a run is not
    exported. Trained numbers: n D, times the number of blocks where they are deep.

    Source: Jia et al. 2022, "Visual Prompt Tuning"; place, start and order of the tokens read in the authors' code, where the
        rate is base / 256 times the batch size with base from 0.05 to 50, by SGD over 100 epochs.
    Certainty: read in the authors' code.

    Args:
        tokens: n.
        depth: shallow or deep.
        dropout: probability with which a number of a prompt is zero, while training.
    """

    layout = "tokens"

    def __init__(
        self,
        *,
        tokens: PositiveInt = 10,
        depth: Literal["shallow", "deep"] = "deep",
        dropout: OpenFraction | None = None,
    ) -> None:
        super().__init__()
        self.n_extra_tokens, self.depth, self.dropout = tokens, depth, dropout or 0.0

    def attach(self, backbone: Backbone) -> list[nn.Parameter]:
        """Freeze the backbone and draw the prompts. Raises: ConfigError for a body that is no such transformer."""
        like = next(backbone.parameters())
        size = backbone.input_spec.image_size or backbone.input_spec.min_size
        with torch.no_grad():
            backbone.embed(like.new_zeros(1, 3, size, size))  # a body that has no such tokens says so
        backbone.requires_grad_(False)
        n_layers = len(backbone.named_blocks()) if self.depth == "deep" else 1
        patch = next(iter(layers(backbone).values())).weight[0].numel()
        bound = math.sqrt(6 / (patch + backbone.n_features))
        drawn = torch.empty(n_layers, self.n_extra_tokens, backbone.n_features).uniform_(-bound, bound)  # on the CPU
        self.prompts = nn.Parameter(drawn.to(like))
        return [self.prompts]

    def forward(self, backbone: Backbone, images: Tensor) -> Tensor:
        """Tokens [B, prefix + n + patches, D] of transformed images [B, 3, S, S]."""
        tokens, prefix = backbone.embed(images), backbone.n_prefix_tokens
        patches = tokens[:, prefix:]
        for number, prompt in enumerate(self.prompts):
            prompt = F.dropout(prompt, self.dropout, self.training).to(tokens.dtype).expand(len(tokens), -1, -1)
            tokens = torch.cat([tokens[:, :prefix], prompt, patches], 1)
            if number + 1 < len(self.prompts):
                tokens = backbone.run(tokens, number, number + 1)
                patches = tokens[:, prefix + self.n_extra_tokens :]
        return backbone.run(tokens, len(self.prompts) - 1)
