"""Batches of a gradient phase: an epoch's order is a pure function of (seed, session, phase, epoch); any step can be resumed."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor

from hdx.datasets._base import ImageSet
from hdx.datasets._draws import StoredCrops
from hdx.datasets.transforms import Augment, EvalTransform
from hdx.engine import ranks
from hdx.methods._base import Batch, Sampler
from hdx.seeds import derive, stream


class PhaseLoader:
    """Yields this rank's `Batch` of every step of a phase, all epochs in one pass.

    An epoch of N samples is cut into ceil(N / batch_size) batches of nearly equal size, unless a sampler makes them. `weight`
    makes the sum over samples, once averaged over ranks, the mean over the whole batch, whatever each rank's share.

    Args:
        source: an ImageSet, or features [N, D] already gathered in the order of `indices`.
        indices: into the train split, [N].
        labels: positions of the logits, [N].
        epochs: passes over the samples.
        batch_size: over all ranks; not used with a sampler.
        seed, parts: of the streams.
        device: where the batches go.
        augment, transform: for images.
        crops: augmentation that repeats; None draws afresh in every epoch.
        sampler: makes the batches of an epoch in place of the permutation; each rank takes its part of each, in order.
        raw: whether batches hold the augmented uint8 images as well (`Batch.images`).

    Attributes:
        start: steps already done before this pass; the engine sets it when it resumes.
    """

    def __init__(
        self,
        source: ImageSet | Tensor,
        indices: np.ndarray,
        labels: np.ndarray,
        *,
        epochs: int,
        batch_size: int,
        seed: int,
        parts: tuple[int, ...],
        device: torch.device,
        augment: Augment | None = None,
        transform: EvalTransform | None = None,
        crops: StoredCrops | None = None,
        sampler: Sampler | None = None,
        raw: bool = False,
    ) -> None:
        self.source, self.indices, self.labels = source, indices, labels
        self.seed, self.parts, self.device = seed, parts, device
        self.augment, self.transform, self.crops, self.sampler, self.raw = augment, transform, crops, sampler, raw
        self.steps_per_epoch = sampler.steps(labels) if sampler is not None else -(-len(indices) // batch_size)
        self.total = epochs * self.steps_per_epoch
        self.start = 0

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[Batch]:
        for step, (share, n_all, inputs) in enumerate(self._drawn(), start=self.start):
            epoch = step // self.steps_per_epoch + 1
            labels = torch.from_numpy(self.labels[share]).to(self.device, non_blocking=True)
            positions = torch.from_numpy(share).to(self.device, non_blocking=True)
            if self.transform is None:
                yield Batch(inputs, labels, ranks.world() / n_all, positions, epoch=epoch)
                continue
            images = self._augmented(inputs, share, step)
            crops = None if self.crops is None else torch.full_like(positions, self._crop(step))
            raw = images if self.raw else None
            yield Batch(self.transform(images), labels, ranks.world() / n_all, positions, raw, crops, epoch)

    def _shares(self) -> Iterator[tuple[np.ndarray, int]]:
        """For each remaining step this rank's positions in `indices`, and the size of the whole batch."""
        first, skip = divmod(self.start, self.steps_per_epoch)
        for epoch in range(first, self.total // self.steps_per_epoch):
            for batch in self._batches(epoch)[skip if epoch == first else 0 :]:
                yield np.array_split(batch, ranks.world())[ranks.rank()], len(batch)

    def _batches(self, epoch: int) -> list[np.ndarray]:
        rng = stream(self.seed, "order", *self.parts, epoch)
        if self.sampler is not None:
            return self.sampler.epoch(self.labels, rng)
        return np.array_split(rng.permutation(len(self.indices)), self.steps_per_epoch)

    def _drawn(self) -> Iterator[tuple[np.ndarray, int, Tensor]]:
        if isinstance(self.source, Tensor):
            for share, n_all in self._shares():
                yield share, n_all, self.source[torch.from_numpy(share)].to(self.device)
        else:
            images = self.source.batches((self.indices[share] for share, _ in self._shares()), self.device)
            for (share, n_all), batch in zip(self._shares(), images):
                yield share, n_all, batch

    def _crop(self, step: int) -> int:
        assert self.crops is not None
        return step // self.steps_per_epoch % self.crops.n

    def _augmented(self, images: Tensor, share: np.ndarray, step: int) -> Tensor:
        if self.augment is None:
            return images
        if self.crops is not None:
            draws = self.crops.draws(self.indices[share], self._crop(step), self.augment.n_draws)
            return self.augment(images, draws)
        generator = torch.Generator().manual_seed(derive(self.seed, "augment", *self.parts, step, ranks.rank()))
        return self.augment(images, self.augment.draws(len(images), generator))
