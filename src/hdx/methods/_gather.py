"""The whole batch on every rank, with gradient: for losses that compare samples of different ranks."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def gather(share: Tensor, total: int) -> Tensor:
    """The rows of all ranks [total, …] from this rank's share of them, in the order of the ranks.

    Shares are those of `np.array_split(range(total), world)`. Backward gives each rank the gradient of its own rows times the
    number of ranks: where every rank computes the same loss of all rows, DDP's mean over ranks of the parameters' gradients
    is then the gradient of that loss, exactly, and so is that of parameters used after the gather.

    Args:
        share: [n, …], with n = total // world, and one more on the first total % world ranks.
        total: rows over all ranks.
    Raises: ValueError when the share has another size.
    """
    world = dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1
    sizes = [total // world + (rank < total % world) for rank in range(world)]
    own = sizes[dist.get_rank() if world > 1 else 0]
    if len(share) != own:
        raise ValueError(f"Expected {own} of {total} rows on this one of {world} ranks, got {len(share)}")
    return share if world == 1 else _Gather.apply(share, sizes)


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, share: Tensor, sizes: list[int]) -> Tensor:
        rank = dist.get_rank()
        ctx.rows = slice(sum(sizes[:rank]), sum(sizes[: rank + 1]))
        ctx.world = len(sizes)
        padded = share.new_zeros(max(sizes), *share.shape[1:])  # collectives want shares of one size
        padded[: len(share)] = share
        parts = [torch.empty_like(padded) for _ in sizes]
        dist.all_gather(parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        return gradient[ctx.rows] * ctx.world, None
