"""What a method is made from: one object, so that a further part changes no constructor."""

from __future__ import annotations

from dataclasses import dataclass, field

from hdx.augments._base import Augmentation
from hdx.augments.none import NoAugmentation
from hdx.body import Body
from hdx.heads._base import Head
from hdx.losses._base import Loss
from hdx.memories._base import Memory
from hdx.memories.none import NoMemory
from hdx.teachers._base import Teacher
from hdx.trainers.recipe import Recipe


@dataclass
class Parts:
    """The other components of a run, as a method gets them.

    Attributes:
        body: without its adapter yet; the engine attaches that before the first session.
        head: without classes yet.
        loss: of a batch; recipe: of a phase that has none of its own.
        memory: of earlier sessions' samples, empty.
        teacher: a frozen model, on the run's device; None for a run without one.
        augment: how images of a phase are seen, where the recipe's list says nothing.
        classes: names of the dataset's classes, in the order of its labels.
        image_shape: (C, H, W) of its images.
    """

    body: Body
    head: Head
    loss: Loss
    recipe: Recipe
    memory: Memory = field(default_factory=NoMemory)
    teacher: Teacher | None = None
    augment: Augmentation = field(default_factory=NoAugmentation)
    classes: tuple[str, ...] = ()
    image_shape: tuple[int, int, int] = (3, 32, 32)
