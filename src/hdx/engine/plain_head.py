"""A solved head as plain tensors: `logits = features @ weight.T + bias`, or the same on normalised features."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.errors import RunError
from hdx.heads._base import Head
from hdx.heads.cosine import Cosine
from hdx.heads.lda import LDA
from hdx.heads.linear import Linear
from hdx.heads.ncm import NCM
from hdx.heads.rotations import TURNS, Rotations
from hdx.heads.teen import Teen

PROBES = 64


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


@torch.no_grad()
def plain_head(head: Head) -> PlainHead:
    """The head with logits that differ from its own by the same amount for all classes of a sample: probabilities are equal.

    LDA is exact. NCM's -||x - mu||^2 = 2 x.mu - ||mu||^2 - ||x||^2 loses its last term. Any other head whose logits are
    affine in the features, up to such an amount, is read off the unit vectors and checked.

    Raises: RunError for a head that is neither linear nor a cosine classifier.
    """
    if type(head) is LDA:
        centre, weight, bias = head.solve()
        return PlainHead("linear", weight, bias - weight @ centre)
    if type(head) is Teen:
        directions, penalty = head.solve()
        return PlainHead("cosine", directions, penalty, head.tau)
    if type(head) is NCM:
        origin, weight, bias = head.solve()
        if head.metric == "cosine":
            return PlainHead("cosine", weight, bias)
        return PlainHead("linear", weight, bias - weight @ origin)
    if type(head) is Rotations:
        return _of_rotations(head)
    if type(head) is Linear:
        bias = torch.zeros(len(head.weight)).to(head.weight) if head.bias is None else head.bias
        return PlainHead("linear", head.weight.detach(), bias.detach())
    if type(head) is Cosine:
        scale = head.scale if head.log_scale is None else math.exp(float(head.log_scale))
        return PlainHead("cosine", F.normalize(head.weight, dim=1), torch.zeros(len(head.weight)).to(head.weight), scale)
    return _probed(head)


def _of_rotations(head: Rotations) -> PlainHead:
    if head.plain is not None:
        return plain_head(head.plain)
    if head.predict == "aggregated":
        raise RunError("head Rotations predicts from four turns of an image and has no plain form; export head.predict=distilled")
    return PlainHead("linear", head.weight.detach()[::TURNS], head.bias.detach()[::TURNS])


def _probed(head: Head) -> PlainHead:
    """Read an affine head off zero and the unit vectors, then try it on random features."""
    d = head.n_features
    device = next((tensor.device for tensor in head.state_dict().values()), torch.device("cpu"))
    bias = _centred(head(torch.zeros(1, d, device=device)))[0]
    weight = _centred(head(torch.eye(d, device=device))).T - bias[:, None]
    x = torch.randn(PROBES, d, generator=torch.Generator().manual_seed(0)).to(device)
    wanted, found = _centred(head(x)), x.to(weight.dtype) @ weight.T + bias
    if not torch.allclose(wanted, found, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())):
        name = type(head).__name__
        raise RunError(
            f"head {name} has no plain form: its logits are not linear in the features; export lda, ncm, linear or cosine"
        )
    return PlainHead("linear", weight, bias)


def _centred(logits: Tensor) -> Tensor:
    """[B, C] float64 about the first class: what is common to all classes of a sample is gone."""
    return logits.double() - logits.double()[:, :1]
