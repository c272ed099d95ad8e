"""The plain tensors of a head: its own, or read off it."""

from __future__ import annotations

import torch
from torch import Tensor

from hdx.errors import RunError
from hdx.heads._base import Head
from hdx.heads._plain import PlainHead

PROBES = 64
SAYS = ("forward", "score", "solve")  # what decides the logits of a head


@torch.no_grad()
def plain_head(head: Head) -> PlainHead:
    """The head with logits that differ from its own by the same amount for all classes of a sample: probabilities are equal.

    A head that knows its form says it (`Head.plain_form`). Any other one whose logits are affine in the features, up to such an
    amount, is read off the unit vectors and checked; so is one that changes what the head that it is derived from says.

    Raises: RunError for a head that is neither linear nor a cosine classifier.
    """
    found = head.plain_form() if _depth(head, "plain_form") <= min(_depth(head, name) for name in SAYS) else None
    return _probed(head) if found is None else found


def _depth(head: Head, name: str) -> int:
    """How far up its bases a head has a method from."""
    bases = type(head).__mro__
    return next((depth for depth, base in enumerate(bases) if name in vars(base)), len(bases))


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
