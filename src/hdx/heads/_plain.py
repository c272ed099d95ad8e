"""A head as plain tensors: `logits = features @ weight.T + bias`, or the same on normalised features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class PlainHead:
    """Tensors of a head.

    Attributes:
        kind: "linear": x @ weight.T + bias; "cosine": scale * (x / ||x||) @ weight.T + bias, with rows of norm 1.
        weight: [C, D], float64 for heads solved in closed form.
        bias: [C]; -inf for a class without samples.
        scale: of the cosines; 1 for "linear".
    """

    kind: Literal["linear", "cosine"]
    weight: Tensor
    bias: Tensor
    scale: float = 1.0

    def logits(self, features: Tensor) -> Tensor:
        """[B, C] of features [B, D], in the dtype of the weights."""
        x = features.to(self.weight.dtype)
        x = F.normalize(x, dim=1) if self.kind == "cosine" else x
        return self.scale * (x @ self.weight.T) + self.bias
