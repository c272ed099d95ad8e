"""The diagonal of the Fisher information, and quadratic penalties that are built from it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


def fisher_diagonal(losses: Iterable[Tensor], parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """Mean over samples of the squared gradient of each sample's own loss, for every number in `parameters`.

    Not the square of a batch's mean gradient, which vanishes where the samples of a batch disagree.

    Args:
        losses: of one sample each, [], made one after the other (-log p of a label).
        parameters: leaf tensors that require a gradient; one that a loss does not depend on has zeros.
    Returns: tensors as `parameters`, on their device; zeros where there is no sample.
    """
    total = {name: torch.zeros_like(parameter, requires_grad=False) for name, parameter in parameters.items()}
    n_samples = 0
    for loss in losses:
        gradients = torch.autograd.grad(loss, list(parameters.values()), allow_unused=True)
        n_samples += 1
        for kept, gradient in zip(total.values(), gradients):
            if gradient is not None:
                kept.addcmul_(gradient, gradient)
    return {name: kept / max(n_samples, 1) for name, kept in total.items()}


@dataclass
class Quadratic:
    """1/2 sum_i precision_i (theta_i - centre_i)^2 + constant, by the parameters' names.

    A parameter that has grown since (the rows of a head) is bound by its first rows, those that it had.
    """

    precision: dict[str, Tensor]
    centre: dict[str, Tensor]
    constant: float = 0.0

    def __call__(self, parameters: dict[str, Tensor]) -> Tensor:
        """The value [], differentiable, in the dtype of the parameters; summed in their order, whatever file this came from."""
        values = [
            (self.precision[name] * (_first_rows(parameter, self.precision[name]) - self.centre[name]).square()).sum()
            for name, parameter in parameters.items()
        ]
        return 0.5 * torch.stack(values).sum() + self.constant

    def plus(self, other: Quadratic) -> Quadratic:
        """The sum of two, which is one again: the precisions add up and the centre is their weighted mean.

        So the penalties of any number of sessions are kept exactly (up to rounding) in the room of one. `other` is the younger
        one, whose tensors have as many rows or more.
        """
        precision, centre, constant = {}, {}, self.constant + other.constant
        for name, young in other.precision.items():
            a, b = grown(self.precision[name], young).double(), young.double()
            old, new = grown(self.centre[name], young).double(), other.centre[name].double()
            total = a + b
            share = torch.where(total > 0, a / total, 0.0)
            constant += float(0.5 * (share * b * (old - new).square()).sum())
            precision[name] = total.to(young)
            centre[name] = (new + share * (old - new)).to(young)
        return Quadratic(precision, centre, constant)

    def state(self) -> dict[str, Tensor]:
        """What `of` takes over."""
        tensors = {f"precision.{name}": value for name, value in self.precision.items()}
        tensors |= {f"centre.{name}": value for name, value in self.centre.items()}
        return tensors | {"constant": torch.tensor(self.constant, dtype=torch.float64)}

    @classmethod
    def of(cls, state: dict[str, Tensor], device: torch.device) -> Quadratic:
        """From what `state` gave, on a device."""
        parts: dict[str, dict[str, Tensor]] = {"precision": {}, "centre": {}}
        for key, value in state.items():
            part, _, name = key.partition(".")
            if part in parts:
                parts[part][name] = value.to(device)
        return cls(parts["precision"], parts["centre"], float(state["constant"]))


def grown(old: Tensor, like: Tensor) -> Tensor:
    """`old` with rows of zeros after its own, in the shape of `like`."""
    if old.shape == like.shape:
        return old
    return torch.cat([old, torch.zeros_like(like[len(old) :], dtype=old.dtype)])


def _first_rows(parameter: Tensor, like: Tensor) -> Tensor:
    return parameter if parameter.shape == like.shape else parameter[: len(like)]
