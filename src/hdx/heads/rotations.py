"""A classifier of class and rotation together."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.errors import RunError
from hdx.heads._gradient import GradientHead
from hdx.heads._plain import PlainHead
from hdx.heads.linear import Linear

TURNS = 4  # by 0, 90, 180 and 270 degrees


class Rotations(GradientHead):
    """A linear classifier of class and rotation together; row c * 4 + j is of class c turned by j * 90 degrees.

    How it predicts a class: `aggregated`, the mean over j of the logits that class c has, among those turned by j, on the image
    turned by j (SLA+AG); `single`, the logits of the unturned image among those turned by 0 (SLA+SI); `distilled`, a plain
    linear classifier of the unturned image that learns from labels and the aggregated prediction (SLA+SD). `method=sla` trains
    it.

    Source: Lee et al. 2020, "Self-supervised Label Augmentation via Input Transformations"; read in the authors' code.

    Args:
        n_features: D.
        predict: aggregated, single or distilled.
    """

    only_with = "sla"

    def __init__(self, n_features: int, *, predict: Literal["aggregated", "single", "distilled"] = "aggregated") -> None:
        super().__init__(n_features)
        self.predict = predict
        self.bias = nn.Parameter(torch.empty(0))
        self.plain = Linear(n_features) if predict == "distilled" else None

    @property
    def views(self) -> int:
        """Turns of an image whose features `forward` takes."""
        return TURNS if self.predict == "aggregated" else 1

    def expand(self, n_new: int) -> None:
        """Add four rows for each of `n_new` further classes, and one to the plain classifier."""
        self.n_classes += n_new
        self.weight, self.bias = self.grown(self.weight, TURNS * n_new), self.grown(self.bias, TURNS * n_new)
        if self.plain is not None:
            self.plain.expand(n_new)

    def on_turns(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes * 4] of features [B, D] of images turned in any way."""
        return F.linear(features, self.weight, self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] of features [B, views * D], those of one turn after the other."""
        if self.plain is not None:
            return self.plain(features)
        if self.predict == "aggregated":
            turns = features.unflatten(1, (TURNS, -1))  # [B, 4, D]
            return aggregated(self.on_turns(turns))
        return self.on_turns(features)[:, ::TURNS]

    def plain_form(self) -> PlainHead:
        """That of the unturned image. Raises: RunError where four turns decide."""
        if self.plain is not None:
            return self.plain.plain_form()
        if self.predict == "aggregated":
            raise RunError(
                "head Rotations predicts from four turns of an image and has no plain form; export head.predict=distilled"
            )
        return PlainHead("linear", self.weight.detach()[::TURNS], self.bias.detach()[::TURNS])


def aggregated(joint: Tensor) -> Tensor:
    """[B, C], the mean over j of the logits c * 4 + j of the image turned by j, from logits [B, 4, C * 4]."""
    own = joint.unflatten(2, (-1, TURNS)).diagonal(dim1=1, dim2=3)  # [B, C, 4]
    return own.mean(2)
