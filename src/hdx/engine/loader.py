"""Batches of a gradient phase: an epoch's order is a pure function of (seed, session, phase, epoch); any step can be resumed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from hdx.augments._base import Mix, View
from hdx.datasets._base import ImageSet
from hdx.datasets._draws import StoredCrops
from hdx.datasets.transforms import EvalTransform
from hdx.engine import ranks
from hdx.methods._phase import Batch, Crop, Sampler
from hdx.seeds import derive, stream


class PhaseLoader:
    """Yields this rank's `Batch` of every step of a phase, all epochs in one pass.

    An epoch of N samples is cut into ceil(N / batch_size) batches of nearly equal size, unless a sampler makes them. `weight`
    makes the sum over samples, once averaged over ranks, the mean over the whole batch, whatever each rank's share.
    With `steps` the epochs go on as long as that takes, and the last one may end early.

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
        steps: of the whole phase, in place of `epochs`.
        views: augmentations that each show the batch, in place of `augment`.
        targets: [N, C] float32, in the order of `indices`.
        mix: makes images and targets of several samples each.

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
        augment: View | None = None,
        transform: EvalTransform | None = None,
        crops: StoredCrops | None = None,
        sampler: Sampler | None = None,
        raw: bool = False,
        steps: int | None = None,
        views: Sequence[View] = (),
        targets: Tensor | None = None,
        mix: Mix | None = None,
    ) -> None:
        self.source, self.indices, self.labels = source, indices, labels
        self.seed, self.parts, self.device = seed, parts, device
        self.augment, self.transform, self.crops, self.sampler, self.raw = augment, transform, crops, sampler, raw
        self.views, self.targets, self.mix = tuple(views), targets, mix
        if mix is not None and (targets is None or self.views):
            raise ValueError("Expected targets and no views where samples are mixed")
        self.steps_per_epoch = sampler.steps(labels) if sampler is not None else -(-len(indices) // batch_size)
        self.total = epochs * self.steps_per_epoch if steps is None else steps
        self.start = 0

    def __len__(self) -> int:
        return self.total - self.start

    def __iter__(self) -> Iterator[Batch]:
        for step, (share, n_all, inputs) in enumerate(self._drawn(), start=self.start):
            epoch = step // self.steps_per_epoch + 1
            labels = torch.from_numpy(self.labels[share]).to(self.device, non_blocking=True)
            positions = torch.from_numpy(share).to(self.device, non_blocking=True)
            targets = None if self.targets is None else self.targets[torch.from_numpy(share)].to(self.device)
            batch = Batch(inputs, labels, ranks.world() / n_all, positions, epoch=epoch, step=step, targets=targets)
            yield batch if self.transform is None else self._shown(batch, share, step)

    def _shown(self, batch: Batch, share: np.ndarray, step: int) -> Batch:
        """The batch of raw images as the body sees it."""
        assert self.transform is not None
        if self.crops is not None:
            batch = batch._replace(crops=torch.full_like(batch.positions, self._crop(step)))
        if self.views:
            shown = [self._viewed(batch.inputs, share, step, number) for number in range(len(self.views))]
            raw = shown[0][0] if self.raw else None
            return batch._replace(inputs=shown[0][1].inputs, images=raw, views=tuple(crop for _, crop in shown))
        images = self._augmented(batch.inputs, share, step)
        if self.mix is not None and batch.targets is not None:
            images, targets = self.mix(images, batch.targets, self._generator("mix", step))
            batch = batch._replace(targets=targets)
        return batch._replace(inputs=self.transform(images), images=images if self.raw else None)

    def _viewed(self, images: Tensor, share: np.ndarray, step: int, number: int) -> tuple[Tensor, Crop]:
        """The images as a view shows them, raw and as the body sees them."""
        assert self.transform is not None
        view = self.views[number]
        if self.crops is not None:
            draws = self.crops.draws(self.indices[share], self._crop(step) * len(self.views) + number, view.n_draws)
        else:
            draws = view.draws(len(images), self._generator("view", step, number))
        shown = view(images, draws)
        geometry = view.geometry(draws, *images.shape[-2:]).to(images.device)
        return shown, Crop(self.transform.at(view.size)(shown), geometry)

    def _generator(self, purpose: str, step: int, *more: int) -> torch.Generator:
        return torch.Generator().manual_seed(derive(self.seed, purpose, *self.parts, step, ranks.rank(), *more))

    @property
    def samples(self) -> int:
        """In all steps of the phase, over all ranks."""
        epochs, rest = divmod(self.total, self.steps_per_epoch)
        sizes = [len(batch) for batch in self._batches(0)]
        return epochs * sum(sizes) + sum(sizes[:rest])

    def _shares(self) -> Iterator[tuple[np.ndarray, int]]:
        """For each remaining step this rank's positions in `indices`, and the size of the whole batch."""
        for epoch in range(self.start // self.steps_per_epoch, -(-self.total // self.steps_per_epoch)):
            done = epoch * self.steps_per_epoch
            for batch in self._batches(epoch)[max(0, self.start - done) : self.total - done]:
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
        return self.augment(images, self.augment.draws(len(images), self._generator("augment", step)))
