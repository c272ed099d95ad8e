"""Exact sufficient statistics of labelled features: counts, class sums and Gram matrices about a pivot.

The pivot is the mean of the first samples taken in, so that a common offset of the features costs no digits. Sums about
different pivots are moved to a common one exactly (`Shard.rebase`), which makes the statistics of any split of the data
into sessions, orders and ranks add up to those of one pass: to float64 rounding, and where a large block's Gram matrix was
taken in float32 (`hdx.ops.class_moments`) to 1e-5 of the covariance in every direction, and as much of the logits.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn

from hdx.errors import RunError
from hdx.ops._gram import product
from hdx.ops.class_moments import CHUNK, class_moments, moved


@dataclass
class Shard:
    """Sums over some samples, with z = x - pivot; every method works in place.

    Attributes:
        pivot: [D] float64; meaningless while the shard is empty.
        counts: [C] int64.
        sums: [C, D] float64, sum of z per class.
        gram: float64 sum of z z^T, [D, D] over all samples or [C, D, D] per class, or None where it is not needed.
    """

    pivot: Tensor
    counts: Tensor
    sums: Tensor
    gram: Tensor | None

    @classmethod
    def empty(cls, n_features: int, n_classes: int, gram: bool, per_class: bool = False) -> Shard:
        """A shard of no samples."""
        pivot = torch.zeros(n_features, dtype=torch.float64)
        classes = [n_classes] if per_class else []
        return cls(
            pivot=pivot,
            counts=torch.zeros(n_classes, dtype=torch.int64),
            sums=pivot.new_zeros(n_classes, n_features),
            gram=pivot.new_zeros(*classes, n_features, n_features) if gram else None,
        )

    def like(self) -> Shard:
        """A shard of no samples with the same shapes, on the same device."""
        gram = None if self.gram is None else torch.zeros_like(self.gram)
        return Shard(torch.zeros_like(self.pivot), torch.zeros_like(self.counts), torch.zeros_like(self.sums), gram)

    @property
    def n(self) -> int:
        """Number of samples."""
        return int(self.counts.sum())

    def add(self, features: Tensor, labels: Tensor, floor: float = 0.0, centred: bool = True) -> None:
        """Take in features [N, D] with labels [N] in [0, C); `floor` and `centred` as those of `Moments`.

        Raises: RunError when a feature is not finite; nothing is taken in then.
        """
        if not len(features):
            return
        first = self.n == 0 and centred
        pivot = features[:CHUNK].mean(0, dtype=torch.float64) if first else self.pivot
        shared = self.gram is not None and self.gram.ndim == 2
        new = class_moments(features, labels, len(self.counts), pivot, gram=shared, floor=floor)
        check_finite(features, new.sums)
        self.pivot.copy_(pivot)
        self.counts += new.counts
        self.sums += new.sums
        if self.gram is not None and new.gram is not None:
            self.gram += new.gram
        elif self.gram is not None:
            self._add_by_class(features, labels)

    def _add_by_class(self, features: Tensor, labels: Tensor) -> None:
        assert self.gram is not None
        for x, y in zip(features.split(CHUNK), labels.split(CHUNK)):
            z = x.to(torch.float64, copy=True).sub_(self.pivot)  # [n, D]
            classes, sizes = y.unique(return_counts=True)
            for c, rows in zip(classes.tolist(), z[y.argsort()].split(sizes.tolist())):
                self.gram[c] += product(rows)

    def rebase(self, pivot: Tensor) -> None:
        """Move the sums to another pivot [D]."""
        d = self.pivot - pivot  # z' = z + d
        if self.gram is not None:
            per_class = self.gram.ndim == 3
            sums, n = (self.sums, self.counts) if per_class else (self.sums.sum(0), self.counts.sum())
            self.gram.copy_(moved(self.gram, sums, n, d))
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
        gram: keep the Gram matrix [D, D], which class means do not need.
        per_class: keep one for each class, [C, D, D].
        floor: what the head adds to the diagonal of the covariance that it makes of them, at least.
        centred: sums about a pivot; else about 0, so that a sum of zeros is 0 to the bit.

    Attributes:
        version: grows with every change; keys what is solved from the statistics.
    """

    pivot: Tensor
    counts: Tensor
    sums: Tensor
    gram: Tensor | None

    def __init__(self, n_features: int, *, gram: bool, per_class: bool = False, floor: float = 0.0, centred: bool = True) -> None:
        super().__init__()
        self.floor, self.centred = floor, centred
        self.version = 0
        self.pending: Shard | None = None
        for name, value in vars(Shard.empty(n_features, 0, gram, per_class)).items():
            self.register_buffer(name, value)

    def fresh(self) -> Moments:
        """The same without samples or classes."""
        per_class = self.gram is not None and self.gram.ndim == 3
        options = {"per_class": per_class, "floor": self.floor, "centred": self.centred}
        fresh = Moments(len(self.pivot), gram=self.gram is not None, **options)  # type: ignore[arg-type]
        return fresh.to(self.pivot.device)

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
        for shard in (self, self.pending):
            if shard is None:
                continue
            shard.counts, shard.sums = _padded(shard.counts, n_new), _padded(shard.sums, n_new)
            if shard.gram is not None and shard.gram.ndim == 3:
                shard.gram = _padded(shard.gram, n_new)
        self.version += 1

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in features [N, D] of any float type with labels [N] int64.

        Raises: ValueError for shapes or labels out of range; RunError when a feature is not finite.
        """
        check_labels(features, labels, len(self.pivot), len(self.counts))
        features, labels = features.to(self.pivot.device), labels.to(self.pivot.device)
        if world_size() == 1:
            self._buffers_as_shard().add(features, labels, self.floor, self.centred)
        else:
            if self.pending is None:
                self.pending = self._buffers_as_shard().like()
            self.pending.add(features, labels, self.floor, self.centred)
        self.version += 1

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
        if world_size() == 1:
            return
        local = self.pending
        if local is None:
            local = self._buffers_as_shard().like()
        if _agree_on_pivot(local):
            for value in (local.counts, local.sums, local.gram):
                if value is not None:
                    all_reduce(value)
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


def check_samples(features: Tensor, labels: Tensor, n_features: int, n_classes: int) -> None:
    """Raises: ValueError for shapes or labels out of range; RunError when a feature is not finite."""
    check_labels(features, labels, n_features, n_classes)
    check_finite(features, features)


def check_labels(features: Tensor, labels: Tensor, n_features: int, n_classes: int) -> None:
    """Raises: ValueError for shapes or labels out of range."""
    if features.ndim != 2 or features.shape[1] != n_features or labels.shape != features.shape[:1]:
        raise ValueError(
            f"Expected features [N, {n_features}] and labels [N], got {list(features.shape)} and {list(labels.shape)}"
        )
    wrong = labels[(labels < 0) | (labels >= n_classes)]
    if len(wrong):
        raise ValueError(f"Expected labels in [0, {n_classes}), got {int(wrong[0])}: expand() comes before update()")


def check_finite(features: Tensor, sums: Tensor) -> None:
    """Raises: RunError when a feature [N, D] is not finite, which some sum of features then is not either.

    A sum is finite only where all its terms are, and costs less than a look at each; the class sums cost nothing.
    """
    if torch.isfinite(sums.sum()):
        return
    bad = int((~torch.isfinite(features)).any(1).sum())
    if bad:
        raise RunError(
            f"{bad} of {len(features)} feature vectors hold NaN or infinity: the body diverged or its precision "
            "overflowed.  (try a smaller trainer.lr, or precision=32)"
        )


def _padded(value: Tensor, n_new: int) -> Tensor:
    return torch.cat([value, value.new_zeros(n_new, *value.shape[1:])])


def world_size() -> int:
    """Number of ranks, 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def _agree_on_pivot(local: Shard) -> bool:
    """Rebase to the mean of the ranks' pivots weighted by their samples; False where no rank has any."""
    n = local.n
    packed = torch.cat([local.pivot * n, local.pivot.new_tensor([n])])  # [D + 1]
    all_reduce(packed)
    if packed[-1] == 0:
        return False
    pivot = packed[:-1] / packed[-1]
    if n:
        local.rebase(pivot)
    else:
        local.pivot.copy_(pivot)
    return True


def all_reduce(value: Tensor) -> None:
    """Sum over ranks in place; NCCL takes no CPU tensors, so one of those goes over the GPU."""
    if dist.get_backend() == "nccl" and not value.is_cuda:
        on_device = value.cuda()
        dist.all_reduce(on_device)
        value.copy_(on_device)
    else:
        dist.all_reduce(value)
