"""L2-SP: weights are held where the session found them."""

from __future__ import annotations

import torch
from torch import Tensor

from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.options import NonNegativeFloat
from hdx.protocols._base import Session


class L2Sp(Method):
    """Fine-tuning under a penalty on the distance to the weights at the start of the session, beta/2 ||w - w0||^2.

    Source: Li et al. 2018, "Explicit Inductive Bias for Transfer Learning with Convolutional Networks", eq. 2.
    Trains: body and head, in every session.
    Keeps: nothing.
    Certainty: by definition.

    Args:
        beta: strength of the penalty.
    """

    trains_in = "every"
    trains_head = True
    heads = ("gradient",)

    def __init__(self, parts: Parts, *, beta: NonNegativeFloat = 0.01) -> None:
        super().__init__(parts)
        self.beta = beta
        self.found: list[Tensor] = []

    def start_session(self, session: Session) -> None:
        """Remember the weights that may train."""
        super().start_session(session)
        self.found = [parameter.detach().clone() for parameter in self.body.trainable]

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head."""
        return [self.body_phase(session.train, session.seen_classes, self.head)]

    def penalty(self) -> Tensor | float:
        """Added once to the loss of a batch."""
        moved = [(now - then).square().sum() for now, then in zip(self.body.trainable, self.found)]
        return self.beta / 2 * torch.stack(moved).sum()
