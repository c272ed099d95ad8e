"""The contract of an augmentation, and of the steps that its views consist of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor

from hdx.rules import Rule


class View(Protocol):
    """A way to look at an image: a pure function of the image and its row of numbers in [0, 1).

    Attributes:
        size: side in pixels that the body's transform resizes its images to (`EvalTransform.resize_to`).
        n_draws: numbers that a sample takes.
    """

    size: int
    n_draws: int

    def draws(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, n_draws] float32 in [0, 1) from a generator on the CPU."""

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, h, w] uint8 of images [B, C, H, W] uint8 and draws [B, n_draws]."""

    def geometry(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 2, 3]: places in what comes out to places in the image, both in [-1, 1] (x, y), as F.affine_grid has them."""

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the key of what is kept of them."""


class Mix(Protocol):
    """Makes each image of a batch, and its targets, of that image and another one of the batch."""

    def __call__(self, images: Tensor, targets: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images [B, C, h, w] uint8 and targets [B, C], mixed; `generator` lives on the CPU."""


class Augmentation(ABC):
    """How the images of a gradient phase are seen: one view each, several for methods that compare views, or mixed in pairs.

    Facts, read from source (`hdx.config.facts`):
        shows: whether an image is seen once, as methods of labels take it, or several times at once.
        mixes: whether images and targets are made of several samples each.
    """

    shows: ClassVar[Literal["one", "several"]] = "one"
    mixes: ClassVar[bool] = False
    rules: ClassVar[tuple[Rule, ...]] = ()

    @abstractmethod
    def views(self, size: int) -> tuple[View, ...]:
        """The views of an image; none where it is seen as it is.

        Args:
            size: side in pixels that the body's transform resizes to (`EvalTransform.resize_to`).
        """

    def mix(self) -> Mix | None:
        """What makes images and targets of several samples each; None where it mixes nothing."""
        return None


class Step(ABC):
    """One random change of a batch of uint8 images, each sample by its own row of numbers in [0, 1).

    The numbers are given and not drawn here: an image comes out the same on every device, in every batch and after a resume.

    Attributes:
        n_draws: K, numbers a sample takes.
    """

    n_draws: int

    @abstractmethod
    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, h, w] uint8 of images [B, C, H, W] uint8 and draws [B, K] on their device."""

    def matrix(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 3, 3]: places in what comes out to places in the image, both in [-1, 1] (x, y); the unit matrix if none moves."""
        return torch.eye(3).repeat(len(draws), 1, 1)

    def sides(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of what comes out."""
        return height, width

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data."""
        shown = {name: list(value) if isinstance(value, tuple) else value for name, value in sorted(vars(self).items())}
        return {"step": type(self).__name__, **shown}


class Chain:
    """A view made of steps, one after the other.

    Args:
        steps: in order.
        size: side in pixels that the body's transform resizes to.

    Attributes:
        n_draws: numbers a sample takes: those of the steps in order.
    """

    VERSION = 1

    def __init__(self, steps: Sequence[Step], size: int) -> None:
        self.steps, self.size = list(steps), size
        self.n_draws = sum(step.n_draws for step in self.steps)

    def draws(self, n: int, generator: torch.Generator) -> Tensor:
        """[n, n_draws] float32 in [0, 1) from a generator on the CPU."""
        return torch.rand(n, self.n_draws, generator=generator)

    def __call__(self, images: Tensor, draws: Tensor) -> Tensor:
        """[B, C, h, w] uint8 of images [B, C, H, W] uint8 and draws [B, n_draws] on the CPU."""
        for step, own in zip(self.steps, self._shared(draws)):
            images = step(images, own.to(images.device))
        return images

    def geometry(self, draws: Tensor, height: int, width: int) -> Tensor:
        """[B, 2, 3]: places in what comes out to places in the image, both in [-1, 1] (x, y), as F.affine_grid has them."""
        found = torch.eye(3).repeat(len(draws), 1, 1)
        for step, own in zip(self.steps, self._shared(draws)):
            found = found.bmm(step.matrix(own, height, width))
            height, width = step.sides(height, width)
        return found[:, :2]

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the key of what is kept of them."""
        return {"version": self.VERSION, "size": self.size, "steps": [step.describe() for step in self.steps]}

    def _shared(self, draws: Tensor) -> Sequence[Tensor]:
        return draws.split([step.n_draws for step in self.steps], 1)


def to_uint8(x: Tensor) -> Tensor:
    """The nearest of 0..255."""
    return x.round().clamp_(0, 255).to(torch.uint8)


def chosen(share: float, draws: Tensor) -> Tensor:
    """[B] bool: which samples a step with a probability concerns; draws [B]."""
    return draws < share
