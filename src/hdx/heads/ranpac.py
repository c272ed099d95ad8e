"""RanPAC: ridge regression on a fixed random projection of the features."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
import torch.distributed as dist
from torch import Tensor

from hdx.heads import _penalty
from hdx.heads._base import Head
from hdx.heads._moments import all_reduce, check_samples, world_size
from hdx.heads._products import Products
from hdx.options import PositiveFloat, PositiveInt, Seed
from hdx.seeds import stream

CHUNK = 1024  # rows projected at a time: 80 MB for 10,000 dimensions


class RanPAC(Head):
    """Ridge regression of one-hot labels on ReLU features of a fixed random projection, updated exactly.

    H = relu(F W) with W [D, M] drawn from N(0, 1) once; G += H^T H, Q += H^T Y; logits = h (G + ridge * I)^-1 Q. W is drawn
    again from its seed, not saved. G and Q are sums in float64, so that with `ridge` given the logits do not depend on how
    the samples were split into sessions, chunks, orders and ranks (to 1e-6: H is rounded to float32).

    With `ridge` left to the paper's rule it is, after each session, the one of 10^-8, 10^-7, ..., 10^8 that regresses a
    held-out fifth of *that session's* samples best, fitted on the other four fifths alone, and then serves the sums of all
    sessions. So it depends on what the last session was, and the logits with it; on order, chunks and ranks within
    a session it does not, for the fifth is drawn by a hash of the feature vectors (the authors take the last fifth of a
    shuffled order). A session is what comes between two calls of `merge_ranks`, or until logits are asked for. A session too
    small for both parts keeps the ridge before it, 1 at first.

    Memory, whatever the number of samples: about 4 M^2 bytes of state and 16 M^2 more while solving (for M = 10,000: 0.41 GB,
    2.0 GB at the peak). The rule holds the session's features, at most M of them a rank and one chunk more, and systems of
    their number; a session of more than M samples is turned into two further sums like the state.

    Source: McDonnell et al. 2023, "RanPAC: Random Projections and Pre-trained Models for Continual Learning"; the rule after
        the authors' code.
    Keeps: sums over M projections: about M^2 / 2 + C x M numbers.
    Certainty: read in the authors' code.

    Args:
        n_features: D.
        projections: M, dimensions of the random projection.
        ridge: multiple of the identity added to G, which grows with the samples; null for the paper's rule.
        projection_seed: what W is drawn from, apart from all other seeds.
    """

    kind: ClassVar[Literal["statistics", "gradient", "episode"]] = "statistics"
    order_free: ClassVar[bool] = False  # by the paper's rule the ridge is chosen on the last session
    projection: Tensor
    triangle: Tensor
    sums: Tensor
    counts: Tensor
    chosen: Tensor

    def __init__(
        self,
        n_features: int,
        *,
        projections: PositiveInt = 10_000,
        ridge: PositiveFloat | None = None,
        projection_seed: Seed = 0,
    ) -> None:
        super().__init__(n_features)
        self.projections = projections
        self.ridge = ridge
        normal = stream(projection_seed, "ranpac", n_features, projections).standard_normal
        drawn = torch.from_numpy(normal((n_features, projections), dtype="float32"))
        self.register_buffer("projection", drawn, persistent=False)
        for name, value in vars(Products.empty(projections, 0)).items():
            self.register_buffer(name, value)
        self.register_buffer("chosen", torch.ones((), dtype=torch.float64))  # by the rule, for the session before
        self._waiting: list[tuple[Tensor, Tensor]] = []
        self._fit: Products | None = None  # of this rank and session: four fifths, or all samples where ridge is given
        self._held: Products | None = None
        self._weights: Tensor | None = None

    def project(self, features: Tensor, columns: slice = slice(None)) -> Tensor:
        """H [n, M] float64 of features [n, D], or some columns of it."""
        return (features.float() @ self.projection[:, columns]).relu_().double()

    def total(self) -> Products:
        """The merged sums; shares memory with the buffers."""
        return Products(self.triangle, self.sums, self.counts)

    @torch.inference_mode(False)
    @torch.no_grad()
    def expand(self, n_new: int) -> None:
        """Make room for `n_new` further classes."""
        super().expand(n_new)
        total = self.total()
        for products in (total, self._fit, self._held):
            if products is not None:
                products.expand(n_new)
        self.sums, self.counts, self._weights = total.sums, total.counts, None

    @torch.inference_mode(False)
    @torch.no_grad()
    def update(self, features: Tensor, labels: Tensor) -> None:
        """Take in samples: features [N, D], labels [N] int64 in [0, n_classes).

        Raises: ValueError for shapes or labels out of range; RunError when a feature is not finite.
        """
        check_samples(features, labels, self.n_features, self.n_classes)
        if not len(features):
            return
        self._weights = None
        device = self.counts.device
        self._waiting.append((features.to(device, torch.float32, copy=True), labels.to(device, copy=True)))
        if self.ridge is not None or self._n_waiting() > self.projections:
            self._flush()

    @torch.inference_mode(False)
    @torch.no_grad()
    def merge_ranks(self) -> None:
        """End the session: choose the ridge and add what all ranks took in; nothing where none took in any."""
        n, most = self._n_waiting(), self.projections
        state = self.counts.new_tensor([n, int(self._fit is not None)])
        if world_size() > 1:
            all_reduce(state)
        n, summed = state.tolist()
        if not n and not summed:
            return
        self._weights = None
        if summed or n > most:
            self._flush()
            self._take(self._summed(self._fit), self._summed(self._held) if self.ridge is None else None)
        elif world_size() == 1:
            self._choose_by_samples()
            self._flush(into=self.total())
        else:
            self._choose_by_samples()
            own = self._empty()
            self._flush(into=own)
            self._take(self._summed(own), None, choose=False)

    def restore(self, state: dict[str, Tensor], n_classes: int) -> None:
        """Take over a `state_dict` saved when the head had `n_classes` classes."""
        self._waiting, self._fit, self._held, self._weights = [], None, None, None
        super().restore(state, n_classes)

    @torch.no_grad()
    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, n_classes] float64 of features [B, D]; -inf for a class without samples. Ends the session."""
        self._end_alone()
        if self._weights is None:
            with torch.inference_mode(False):  # they outlive the caller's inference mode
                self._weights = self.total().solve(self.ridge or self.chosen.item())
        logits = torch.cat([self.project(x) @ self._weights for x in features.to(self.counts.device).split(CHUNK)])
        return logits.masked_fill(self.counts == 0, -torch.inf)

    def _n_waiting(self) -> int:
        return sum(len(labels) for _, labels in self._waiting)

    def _empty(self) -> Products:
        return Products.empty(self.projections, self.n_classes, self.counts.device)

    def _flush(self, into: Products | None = None) -> None:
        """Turn the samples that wait into sums."""
        waiting, self._waiting = self._waiting, []
        if into is None and waiting and self._fit is None:
            alone = self.ridge is not None and world_size() == 1
            self._fit = self.total() if alone else self._empty()
            self._held = self._empty() if self.ridge is None else None
        for features, labels in waiting:
            for x, y in zip(features.split(CHUNK), labels.split(CHUNK)):
                h = self.project(x)
                if into is not None or self._held is None:
                    (into or self._fit).add(h, y)  # type: ignore[union-attr]
                    continue
                held = _penalty.held_out(x)
                self._fit.add(h[~held], y[~held])  # type: ignore[union-attr]
                self._held.add(h[held], y[held])

    def _summed(self, own: Products | None) -> Products:
        """Over ranks."""
        own = own or self._empty()
        if world_size() > 1:
            for value in (own.triangle, own.sums, own.counts):
                all_reduce(value)
        return own

    def _take(self, fit: Products, held: Products | None, choose: bool = True) -> None:
        """Add a session's sums, after the rule where `held` are some of them."""
        total = self.total()
        if held is not None and choose and int(fit.counts.sum()) and int(held.counts.sum()):
            self._settle(_penalty.choose(_penalty.errors_of_sums(fit, held)))
        for products in (fit, held):
            if products is not None and products.triangle is not total.triangle:
                total.merge(products)
        self._fit = self._held = None

    def _choose_by_samples(self) -> None:
        features, labels = _gathered(self._waiting, self.n_features, self.counts)
        held = _penalty.held_out(features)
        if held.any() and not held.all():
            found = _penalty.errors_of_samples(self.project, self.projections, features, labels)
            self._settle(_penalty.choose(found))

    def _settle(self, penalty: float | None) -> None:
        if penalty is not None:
            self.chosen.fill_(penalty)

    def _end_alone(self) -> None:
        if self._waiting or self._fit is not None:
            if world_size() > 1:
                raise RuntimeError("Statistics of this rank are not merged yet: call merge_ranks() first")
            self.merge_ranks()

    def _save_to_state_dict(self, destination: dict, prefix: str, keep_vars: bool) -> None:
        self._end_alone()
        super()._save_to_state_dict(destination, prefix, keep_vars)


def _gathered(waiting: list[tuple[Tensor, Tensor]], n_features: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """The samples of all ranks, in the order of the ranks: features [N, D], labels [N]."""
    features = torch.cat([torch.zeros(0, n_features, device=like.device), *(x for x, _ in waiting)])
    labels = torch.cat([like.new_zeros(0), *(y for _, y in waiting)])
    if world_size() == 1:
        return features, labels
    sizes = like.new_zeros(world_size())
    sizes[dist.get_rank()] = len(labels)
    all_reduce(sizes)
    start = int(sizes[: dist.get_rank()].sum())
    every, every_label = features.new_zeros(int(sizes.sum()), n_features), like.new_zeros(int(sizes.sum()))
    every[start : start + len(labels)] = features
    every_label[start : start + len(labels)] = labels
    all_reduce(every)
    all_reduce(every_label)
    return every, every_label
