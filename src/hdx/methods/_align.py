"""Two losses whose gradients may pull apart, as one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import Tensor


def aligned(main: Tensor, auxiliary: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """A scalar whose value is `main + auxiliary` and whose gradient is g1 + g2 without what of g2 goes against g1.

    g1 and g2 are the gradients of the two over all parameters together, of the whole batch where ranks share it: where
    <g1, g2> < 0, g2 becomes g2 - <g1, g2> / ||g1||^2 g1. Both are computed here, one backward pass each; what is returned is
    linear in the parameters, so that the backward pass that follows is free, and clipping, scaling and averaging over ranks come
    after it as always. Under precision=16-mixed the two passes here are not loss-scaled.

    Args:
        main, auxiliary: scalars of one graph.
        parameters: of which at least one takes part in each.
    """
    g1 = _gradient(main, parameters, retain_graph=True)
    g2 = _gradient(auxiliary, parameters, retain_graph=False)
    whole1, whole2 = _mean(g1), _mean(g2)
    dots = torch.stack([_dot(whole1, whole2), _dot(whole1, whole1)])
    against = torch.where((dots[0] < 0) & (dots[1] > 0), -dots[0] / dots[1].clamp(min=torch.finfo(dots.dtype).tiny), 0.0)
    linear = torch.stack([(p * (a + b + against * a)).sum() for p, a, b in zip(parameters, g1, g2)]).sum()
    return (main + auxiliary).detach() + linear - linear.detach()


def _gradient(loss: Tensor, parameters: Sequence[Tensor], retain_graph: bool) -> list[Tensor]:
    """One tensor for each parameter, zeros for one that the loss does not depend on."""
    found = torch.autograd.grad(loss, parameters, retain_graph=retain_graph, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g.detach() for p, g in zip(parameters, found)]


def _mean(gradients: list[Tensor]) -> list[Tensor]:
    """Over ranks."""
    if not (dist.is_available() and dist.is_initialized()) or dist.get_world_size() == 1:
        return gradients
    flat = torch.cat([g.reshape(-1) for g in gradients])
    dist.all_reduce(flat)
    flat /= dist.get_world_size()
    return [part.view_as(g) for part, g in zip(flat.split([g.numel() for g in gradients]), gradients)]


def _dot(one: list[Tensor], other: list[Tensor]) -> Tensor:
    return torch.stack([(a * b).sum() for a, b in zip(one, other)]).sum()
