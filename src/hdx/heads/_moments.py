"""Exact sufficient statistics of labelled features: counts, class sums and the Gram matrix about a pivot.

The pivot is the mean of the first samples taken in, so that a common offset of the features costs no digits. Sums about
different pivots are moved to a common one exactly (`Shard.rebase`), which makes the statistics of any split of the data
into sessions, orders and ranks add up to those of one pass.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hdx.errors import RunError

CHUNK = 4096  # rows converted to float64 at a time: bounds the copy at 25 MB for D = 768


@dataclass
class Shard:
    """Sums over some samples, with z = x - pivot; every method works in place.

    Attributes:
        pivot: [D] float64; meaningless while the shard is empty.
        counts: [C] int64.
        sums: [C, D] float64, sum of z per class.
        gram: [D, D] float64, sum of z z^T over all samples, or None where it is not needed.
    """

    pivot: Tensor
    counts: Tensor
    sums: Tensor
    gram: Tensor | None

    @classmethod
    def empty(cls, n_features: int, n_classes: int, gram: bool, device: torch.device | None = None) -> Shard:
        """A shard of no samples."""
        pivot = torch.zeros(n_features, dtype=torch.float64, device=device)
        return cls(
            pivot=pivot,
            counts=torch.zeros(n_classes, dtype=torch.int64, device=device),
            sums=pivot.new_zeros(n_classes, n_features),
            gram=pivot.new_zeros(n_features, n_features) if gram else None,
        )

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Take in features [N, D] with labels [N] in [0, C)."""
        if not len(features):
            return
        if self.n == 0:
            self.pivot.copy_(features.mean(0, dtype=torch.float64))
        self.counts += torch.bincount(labels, minlength=len(self.counts))
        for x, y in zip(features.split(CHUNK), labels.split(CHUNK)):
            z = x.double() - self.pivot  # [n, D]
            self.sums.index_add_(0, y, z)
            if self.gram is not None:
                self.gram.addmm_(z.T, z)

    def rebase(self, pivot: Tensor) -> None:
        """Move the sums to another pivot [D]."""
        d = self.pivot - pivot  # z' = z + d
        if self.gram is not None:
            cross = torch.outer(self.sums.sum(0), d)
            self.gram += cross + cross.T + self.n * torch.outer(d, d)
        self.sums += self.counts[:, None] * d
        self.pivot.copy_(pivot)

    def merge(self, other: Shard) -> None:
        """Add the samples of another shard, whose pivot may differ and which is moved to this one's."""
        if self.n == 0:
            self.pivot.copy_(other.pivot)
        elif other.n:
            other.rebase(self.pivot)
        self.counts += other.counts
        self.sums += other.sums
        if self.gram is not None and other.gram is not None:
            self.gram += other.gram

    def clone(self) -> Shard:
        """A copy that shares no memory."""
        gram = None if self.gram is None else self.gram.clone()
        return Shard(self.pivot.clone(), self.counts.clone(), self.sums.clone(), gram)


class Moments(nn.Module):
    """Sufficient statistics as buffers, plus what this rank took in since the last merge.

    Alone, samples go straight into the buffers. Where several ranks run, they wait in `pending` until `merge_ranks`, so
    that a second merge does not count the first one's samples again. `pending` is no buffer: DDP overwrites those.

    Args:
        n_features: D.
        gram: keep the [D, D] Gram matrix, which class means do not need.

    Attributes:
        version: grows with every change; keys what is solved from the statistics.
    """

    pivot: Tensor
    counts: Tensor
    sums: Tensor
    gram: Tensor | None

    def __init__(self, n_features: int, *, gram: bool) -> None:
        super().__init__()
        self.version = 0
        self.pending: Shard | None = None
        for name, value in vars(Shard.empty(n_features, 0, gram)).items():
            self.register_buffer(name, value)

    def _buffers_as_shard(self) -> Shard:
        return Shard(self.pivot, self.counts, self.sums, self.gram)

    def total(self) -> Shard:
        """All samples known to this rank; shares memory with the buffers, so do not write to it."""
        if self.pending is None:
            return self._buffers_as_shard()
        total = self._buffers_as_shard().clone()
        total.merge(self.pending.clone())
        return total

    @torch.inference_mode(False)
    @torch.no_grad()
    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes."""
        self.counts = torch.cat([self.counts, self.counts.new_zeros(n_new)])
        self.sums = torch.cat([self.sums, self.sums.new_zeros(n_new, self.sums.shape[1])])
        if self.pending is not None:
            self.pending.counts = torch.cat([self.pending.counts, self.pending.counts.new_zeros(n_new)])
            self.pending.sums = torch.cat([self.pending.sums, self.pending.sums.new_zeros(n_new, self.sums.shape[1])])
        self.version += 1

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in features [N, D] of any float type with labels [N] int64.

        Raises: ValueError for shapes or labels out of range; RunError when a feature is not finite.
        """
        self._check(features, labels)
        features, labels = features.to(self.pivot.device), labels.to(self.pivot.device)
        if _world_size() == 1:
            self._buffers_as_shard().add(features, labels)
        else:
            if self.pending is None:
                self.pending = Shard.empty(len(self.pivot), len(self.counts), self.gram is not None, self.pivot.device)
            self.pending.add(features, labels)
        self.version += 1

    def _check(self, features: Tensor, labels: Tensor) -> None:
        if features.ndim != 2 or features.shape[1] != len(self.pivot) or labels.shape != features.shape[:1]:
            raise ValueError(
                f"Expected features [N, {len(self.pivot)}] and labels [N], got {list(features.shape)} and {list(labels.shape)}"
            )
        wrong = labels[(labels < 0) | (labels >= len(self.counts))]
        if len(wrong):
            raise ValueError(f"Expected labels in [0, {len(self.counts)}), got {int(wrong[0])}: expand() comes before update()")
        bad = int((~torch.isfinite(features)).any(1).sum())
        if bad:
            raise RunError(
                f"{bad} of {len(features)} feature vectors hold NaN or infinity: the body diverged or its precision "
                "overflowed.  (try a smaller trainer.lr, or precision=32)"
            )

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge(self, other: Moments) -> None:
        """Add the samples of another `Moments` over the same classes, leaving it as it is."""
        self._buffers_as_shard().merge(other.total().clone())
        self.version += 1

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge_ranks(self) -> None:
        """Sum what every rank took in since the last merge; a collective call where several ranks run, else nothing."""
        if _world_size() == 1:
            return
        local = self.pending
        if local is None:
            local = Shard.empty(len(self.pivot), len(self.counts), self.gram is not None, self.pivot.device)
        if _agree_on_pivot(local):
            for value in (local.counts, local.sums, local.gram):
                if value is not None:
                    _all_reduce(value)
            self._buffers_as_shard().merge(local)
        self.pending = None
        self.version += 1

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        if self.pending is not None:
            raise RuntimeError("Statistics of this rank are not merged yet: call merge_ranks() before saving")
        super()._save_to_state_dict(destination, prefix, keep_vars)

    def _load_from_state_dict(self, *args: object) -> None:
        super()._load_from_state_dict(*args)
        self.version += 1


def _world_size() -> int:
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _agree_on_pivot(local: Shard) -> bool:
    """Rebase to the mean of the ranks' pivots weighted by their samples; False where no rank has any."""
    n = local.n
    packed = torch.cat([local.pivot * n, local.pivot.new_tensor([n])])  # [D + 1]
    _all_reduce(packed)
    if packed[-1] == 0:
        return False
    pivot = packed[:-1] / packed[-1]
    if n:
        local.rebase(pivot)
    else:
        local.pivot.copy_(pivot)
    return True


def _all_reduce(value: Tensor) -> None:
    """Sum over ranks in place; NCCL takes no CPU tensors, so one of those goes over the GPU."""
    if dist.get_backend() == "nccl" and not value.is_cuda:
        on_device = value.cuda()
        dist.all_reduce(on_device)
        value.copy_(on_device)
    else:
        dist.all_reduce(value)
