"""What trains: a gradient phase and what it is made of, its batches, its views, its groups of parameters."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from hdx.augments._base import Mix, View
from hdx.datasets._base import ImageSet
from hdx.trainers.recipe import Recipe


class Sampler(Protocol):
    """Chooses the batches of an epoch; the same labels and generator give the same batches."""

    def steps(self, labels: np.ndarray) -> int:
        """Batches of an epoch over samples with `labels` [N] (positions of logits)."""

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions in `labels`, an array for each of the `steps` batches; under several ranks each takes a part of each."""


class Crop(NamedTuple):
    """What one view shows of a batch.

    Attributes:
        inputs: [B, 3, S, S] transformed images, S of the view.
        geometry: [B, 2, 3] of `View.geometry`, before the body's transform.
    """

    inputs: Tensor
    geometry: Tensor


class Batch(NamedTuple):
    """This rank's part of a step.

    Attributes:
        inputs: [B, 3, S, S] transformed images (of the first view, where there are views), or [B, D] features.
        labels: [B] positions of the logits; -1 where the sample has none.
        weight: of a sample: makes the sum over samples, once averaged over ranks, the mean over the whole batch.
        positions: [B] in the phase's indices.
        images: [B, C, h, w] uint8, augmented, before the body's transform: what a teacher sees; None unless `Phase.raw`.
        crops: [B] which of the stored crops `images` are; None where augmentation is drawn afresh.
        epoch: of the phase, from 1.
        targets: [B, C] float32, of the phase's targets; None where it has none.
        step: of the phase, from 0.
        views: what each of the phase's views shows; empty where it has none.
    """

    inputs: Tensor
    labels: Tensor
    weight: float
    positions: Tensor
    images: Tensor | None = None
    crops: Tensor | None = None
    epoch: int = 1
    step: int = 0
    targets: Tensor | None = None
    views: tuple[Crop, ...] = ()


@dataclass(frozen=True)
class Group:
    """Parameters with a rate of their own.

    Attributes:
        parameters: of the phase's.
        scale: times the recipe's rate.
        weight_decay: None: the recipe's, with vectors spared as ever; a number is for all of them.
    """

    parameters: Iterable[nn.Parameter]
    scale: float = 1.0
    weight_decay: float | None = None


@dataclass
class Phase:
    """A gradient phase: what a fresh Trainer fits.

    Attributes:
        inputs: "images" (the body trains too), "features" (only `classifier` trains, on cached features) or "tokens" (of the body
            only the pool trains, on the maps or tokens that it sees, which are cached); the engine takes tokens for images where
            nothing looks at the images (`Method.on_tokens`).
        indices: into the train split, or into `source`.
        classes: dataset labels in the order of the classifier's logits.
        classifier: features [B, D] to logits [B, len(classes)]; the method's head or a temporary one.
        parameters: exactly what trains.
        start: called once before the first step with the features [N, D] of `indices` under the body as it is, and the
            positions of their labels [N]; a method that starts `classifier` from them sets it.
        sampler: which samples make up the batches of an epoch; None: a permutation cut into batches of the recipe's size.
        raw: whether a batch also holds the augmented images as they are before the body's transform, which is also when
            `Method.teaching` is set.
        finish: called when the phase is over, whether it was trained here or taken over from another run.
        recipe: of this phase; None: the run's.
        steps: optimiser steps, in place of the recipe's epochs.
        groups: parameters with rates of their own; those of `parameters` in no group have the recipe's.
        views: ways to look at each image, in place of the recipe's augmentation; each may have a size of its own.
        targets: [N, C] float32, what the sample of each index is to be taken for, in place of its label, or a function that makes
            them of the positions of the labels [N]; the loss gets them.
        mix: makes images and targets of a batch of several samples each; needs `targets`, and goes with no views.
        source: the images that `indices` mean, with dataset labels; None: the train split.
        steps_itself: whether the method's `training_step` makes its own backward passes and steps, by `Method.descend`: several
            optimisers, bilevel problems. Such a phase trains on one device.
        after_step: called after each step with the share of the phase that is over, in (0, 1].
    """

    inputs: Literal["images", "features", "tokens"]
    indices: np.ndarray
    classes: tuple[int, ...]
    classifier: nn.Module
    parameters: list[nn.Parameter]
    start: Callable[[Tensor, Tensor], None] | None = None
    sampler: Sampler | None = None
    raw: bool = False
    finish: Callable[[], None] | None = None
    recipe: Recipe | None = None
    steps: int | None = None
    groups: tuple[Group, ...] = ()
    views: tuple[View, ...] = ()
    targets: Tensor | Callable[[Tensor], Tensor] | None = None
    mix: Mix | None = None
    source: ImageSet | None = None
    steps_itself: bool = False
    after_step: Callable[[float], None] | None = None

    def optimizer(self, recipe: Recipe) -> torch.optim.Optimizer:
        """The recipe's optimiser over `parameters`, each group at its own rate."""
        grouped = [(list(group.parameters), group) for group in self.groups]
        taken = {id(parameter) for parameters, _ in grouped for parameter in parameters}
        options = recipe.parameter_groups([parameter for parameter in self.parameters if id(parameter) not in taken])
        for parameters, group in grouped:
            found = recipe.parameter_groups(parameters, weight_decay=group.weight_decay)
            options += [{**each, "scale": group.scale} for each in found]
        return recipe.optimizer_of(options)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group of an optimiser its share of a rate."""
    groups: list[dict[str, Any]] = optimizer.param_groups
    for group in groups:
        group["lr"] = rate * group["scale"] if "scale" in group else rate
