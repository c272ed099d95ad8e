"""Ranks: the few collective operations the engine needs; all of them do nothing on a single process."""

from __future__ import annotations

import os

import torch
import torch.distributed as dist
from torch import Tensor


def rank() -> int:
    """This process's rank, 0 without torch.distributed."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def world() -> int:
    """Number of ranks, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def barrier() -> None:
    """Wait for every rank."""
    if world() > 1:
        dist.barrier()


def all_sum(value: Tensor) -> Tensor:
    """The sum over ranks of a CPU tensor, on every rank."""
    if world() == 1:
        return value
    moved = value.to(communication_device())
    dist.all_reduce(moved)
    return moved.cpu()


def any_rank(flag: bool) -> bool:
    """Whether `flag` is true on any rank."""
    return bool(all_sum(torch.tensor(int(flag))).item())


def copy_from_first(value: Tensor) -> None:
    """Overwrite a tensor, wherever it is, with that of rank 0."""
    if world() > 1:
        moved = value.detach().to(communication_device(), copy=True)
        dist.broadcast(moved, 0)
        value.copy_(moved)


def communication_device() -> torch.device:
    """Where tensors must live for a collective: the GPU under nccl, else the CPU."""
    return torch.device("cuda", torch.cuda.current_device()) if dist.get_backend() == "nccl" else torch.device("cpu")


def start_ranks(device: torch.device) -> None:
    """Join the process group that torchrun prepared; nothing happens outside torchrun."""
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")


def stop_ranks() -> None:
    """Leave the process group, if any."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
