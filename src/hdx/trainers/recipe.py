"""The recipe of a gradient phase: optimiser, schedule, batches, augmentation."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import nn

from hdx.options import Fraction, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, Seed, Unhashed
from hdx.rules import ANY, Rule, only_when

Augmentation = Literal["hflip", "vflip", "crop", "resized_crop", "rotate", "jitter"]


class Recipe:
    """How the gradient phase of a method trains; which parameters train is the adapter's word, when is the method's.

    Source: defaults after FSA (Panos et al. 2023: Adam, multistep), shortened for small bodies.

    Args:
        epochs: passes over the images of a phase.
        batch_size: images a step over all devices; a phase is cut into batches of nearly equal size, none larger.
        optimizer: adam, adamw or sgd.
        lr: learning rate.
        momentum: of sgd.
        weight_decay: L2 (sgd, adam) or decoupled (adamw); never on norm affine, biases and adapters' vectors.
        schedule: constant, multistep, cosine to zero, or onecycle (linear warm-up, cosine to zero).
        milestones: shares of the phase at which multistep multiplies the rate by `gamma`.
        gamma: see `milestones`.
        warmup: share of the phase with a linearly growing rate.
        augment: batch augmentations, in order.
        crops: stored augmentation: an image has this many crops and no others, and epoch e takes crop (e - 1) % crops. What a
            teacher says of a crop can then be kept. None draws every crop afresh.
        crop_seed: of the stored crops; the run's seed has no say in them.
        clip_norm: bound on the global gradient norm; None does not clip.
        activation_memory: none keeps what the backward pass of the body needs as it is; int8 keeps it in eight bits, rounded at
            random without bias: about a quarter of the memory (half of it at 16 bits) for some noise in the gradient.
        feature_epochs: passes over cached features when only a head trains.
        eval_batch_size: images a forward pass when features are extracted.
        checkpoint_seconds: seconds between checkpoints inside a phase.
    """

    name = "default"
    rules: ClassVar[tuple[Rule, ...]] = (
        only_when("momentum", optimizer="sgd"),
        only_when("gamma", schedule="multistep"),
        only_when("milestones", schedule="multistep"),
        only_when("crop_seed", crops=ANY, why="is of stored crops, and {crops} stores none", fix="give trainer.crops=K"),
        only_when(
            "crops",
            {"method.trains_in": ("never", "first", "every")},
            why="has no effect with {method}, which draws crops for each episode",
            fix="take another method",
        ),
    )

    def __init__(
        self,
        *,
        epochs: PositiveInt = 30,
        batch_size: PositiveInt = 64,
        optimizer: Literal["adam", "adamw", "sgd"] = "adam",
        lr: PositiveFloat = 0.005,
        momentum: Fraction = 0.9,
        weight_decay: NonNegativeFloat = 0.0,
        schedule: Literal["constant", "multistep", "cosine", "onecycle"] = "multistep",
        milestones: list[float] = [0.25, 0.5, 0.75],  # noqa: B006 - options are read as literals and never changed
        gamma: Fraction = 0.7,
        warmup: Fraction = 0.0,
        augment: list[Augmentation] = [],  # noqa: B006
        crops: PositiveInt | None = None,
        crop_seed: Seed = 0,
        clip_norm: PositiveFloat | None = None,
        activation_memory: Literal["none", "int8"] = "none",
        feature_epochs: PositiveInt = 100,
        eval_batch_size: PositiveInt = 64,
        checkpoint_seconds: Unhashed[NonNegativeInt] = 30,
    ) -> None:
        self.epochs, self.batch_size, self.feature_epochs = epochs, batch_size, feature_epochs
        self.optimizer, self.lr, self.momentum, self.weight_decay = optimizer, lr, momentum, weight_decay
        self.schedule, self.milestones, self.gamma, self.warmup = schedule, list(milestones), gamma, warmup
        self.augment, self.crops, self.crop_seed, self.clip_norm = list(augment), crops, crop_seed, clip_norm
        self.activation_memory = activation_memory
        self.eval_batch_size, self.checkpoint_seconds = eval_batch_size, checkpoint_seconds

    def rate(self, progress: float) -> float:
        """Learning rate at a share `progress` in [0, 1) of the phase: a pure function, so that resuming needs no state."""
        if progress < self.warmup:
            return self.lr * (progress + 1e-3) / (self.warmup + 1e-3)
        if self.schedule == "multistep":
            return self.lr * self.gamma ** sum(progress >= milestone for milestone in self.milestones)
        if self.schedule == "constant":
            return self.lr
        start = max(self.warmup, 0.1) if self.schedule == "onecycle" else self.warmup
        if progress < start:
            return self.lr * (0.04 + 0.96 * progress / start)
        return self.lr * 0.5 * (1 + math.cos(math.pi * (progress - start) / max(1 - start, 1e-9)))

    def replace(self, **options: Any) -> Recipe:
        """This recipe with some options changed: for a phase of its own. Raises: TypeError for one that it does not have."""
        if unknown := sorted(set(options) - set(vars(self))):
            raise TypeError(f"a recipe has no option {unknown[0]}")
        found = copy.copy(self)
        vars(found).update(options)
        return found

    def build_optimizer(self, parameters: list[nn.Parameter], no_decay: Sequence[nn.Parameter] = ()) -> torch.optim.Optimizer:
        """The optimiser over `parameters`; vectors, scalars and those in `no_decay` without weight decay."""
        return self.optimizer_of(self.parameter_groups(parameters, no_decay))

    def parameter_groups(
        self, parameters: list[nn.Parameter], no_decay: Sequence[nn.Parameter] = (), weight_decay: float | None = None
    ) -> list[dict[str, Any]]:
        """Groups for an optimiser: those that decay and those that are spared, or all with one `weight_decay`; none is empty."""
        if weight_decay is not None:
            return [{"params": list(parameters), "weight_decay": weight_decay}] if parameters else []
        spared = {id(p) for p in no_decay} | {id(p) for p in parameters if p.ndim <= 1}
        decayed = [p for p in parameters if id(p) not in spared]
        others = [p for p in parameters if id(p) in spared]
        groups = [{"params": decayed, "weight_decay": self.weight_decay}, {"params": others, "weight_decay": 0.0}]
        return [group for group in groups if group["params"]]

    def optimizer_of(self, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
        """The optimiser over groups of parameters."""
        if self.optimizer == "sgd":
            return torch.optim.SGD(groups, lr=self.lr, momentum=self.momentum)
        return {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}[self.optimizer](groups, lr=self.lr)
