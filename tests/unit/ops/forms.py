"""What holds for every form of an op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def poisoned() -> Iterator[None]:
    """New memory holds NaN, so that a result that is not written is seen."""
    torch.use_deterministic_algorithms(True)
    before = torch.utils.deterministic.fill_uninitialized_memory  # type: ignore[attr-defined]
    torch.utils.deterministic.fill_uninitialized_memory = True  # type: ignore[attr-defined]
    try:
        assert torch.empty(3).isnan().all()
        yield
    finally:
        torch.utils.deterministic.fill_uninitialized_memory = before  # type: ignore[attr-defined]
        torch.use_deterministic_algorithms(False)


def both_ways(op: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, Tensor]:
    """Values [B], and the gradient at x of their sum weighted by 1, 2, …"""
    x = x.detach().requires_grad_(True)
    values = op(x)
    (gradient,) = torch.autograd.grad((values * torch.arange(1, len(values) + 1)).sum(), x)
    return values.detach(), gradient


def same_for_any_number_of_threads(run: Callable[[], tuple[Tensor, Tensor]]) -> bool:
    """Whether values and gradients are the same bits with 1, 2, 3 and 5 threads."""
    before, found = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3, 5):
            torch.set_num_threads(n)
            found.append(run())
    finally:
        torch.set_num_threads(before)
    return all(torch.equal(a, b) for other in found[1:] for a, b in zip(found[0], other))
