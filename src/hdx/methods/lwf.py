"""LwF: fine-tuning that keeps what the previous model says of the new images."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hdx.losses._distillation import distillation
from hdx.methods._parts import Parts
from hdx.methods.finetune import Finetune
from hdx.options import NonNegativeFloat, PositiveFloat


class Lwf(Finetune):
    """Learning without Forgetting: distil the previous model's logits of old classes on the new images; no memory.

    loss = CE + lam * T^2 KL(previous || current) over the old classes' logits, on the same augmented batch, the previous model in
    eval mode. Paper and toolboxes leave T^2 out: their weight l is lam = l / T^2 here (the paper's 1 is 0.25, PyCIL's 3 is 0.75).
    The paper first warms the new rows up with the rest frozen, and has a head for each session; here all rows are one head.

    Source: Li and Hoiem 2017, "Learning without Forgetting"; the form for class-incremental learning, the mask and T = 2 read in
        re-implementations (PyCIL and FACIL have mask=old, Mammoth mask=none).
    Trains: body and head, in every session.
    Keeps: no sample; a copy of the model while a session trains.
    Certainty: read in re-implementations.

    Args:
        lam: weight of the distillation.
        temperature: T, of both models' softmax.
        mask: old takes the cross-entropy over the classes of the session alone, so that only the distillation moves the other
            logits; none over all classes seen.
    """

    heads = ("gradient",)
    keeps_previous = True

    def __init__(
        self,
        parts: Parts,
        *,
        lam: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 2.0,
        mask: Literal["none", "old"] = "old",
    ) -> None:
        super().__init__(parts, mask=mask)
        self.lam, self.temperature = lam, temperature

    def sample_losses(self, inputs: Tensor, features: Tensor, logits: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """[B]; plain cross-entropy in the first session."""
        losses = super().sample_losses(inputs, features, logits, labels, positions)
        if self.previous is None:
            return losses
        old = logits[:, : self.previous.n_classes]
        return losses + self.lam * distillation(old, self.previous.logits(inputs), self.temperature)
