"""WA: replay with distillation, then the new rows of the head brought to the old ones' mean norm."""

from __future__ import annotations

import torch
from torch import Tensor

from hdx.losses._distillation import distillation
from hdx.memories._base import Samples
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.options import PositiveFloat
from hdx.protocols._base import Session
from hdx.rules import refuse


class Wa(Method):
    """Weight aligning: train on the session and the memory with distillation, then scale the new rows of the linear head.

    loss = (1 - l) CE + l KD over the old classes' logits, l = old classes / seen classes, on the same augmented batch. After the
    session's training the rows of its new classes are multiplied by gamma = mean norm of the old rows / mean norm of the new
    ones. Biases stay as they were trained. In the first session, and in one without new classes, nothing is aligned.
    Where classes arrive again, l is the share of the seen classes that the session's own images do not show.

    Source: Zhao et al. 2020, "Maintaining Discrimination and Fairness in Class Incremental Learning"; read in re-implementations
        (PyCIL, whose loss is CE + 2 KD in later versions). The paper's optional clipping of weights is left out, as there.
    Trains: body and head, in every session.
    Keeps: rows of the train split, within the bound of `memory`; a copy of the model while a session trains.
    Certainty: read in re-implementations.

    Args:
        temperature: T of the distillation.
        t2_scale: multiply the distillation by T^2 (Hinton et al. 2015), which PyCIL does not.
    """

    trains_in = "every"
    trains_head = True
    heads = ("gradient",)
    uses_memory = True
    needs_memory = True
    keeps_previous = True
    rules = (
        refuse(
            {"head.name": "cosine"},
            "{method} aligns the norms of the head's rows, which head=cosine does not look at: take head=linear",
        ),
    )

    def __init__(
        self,
        parts: Parts,
        *,
        temperature: PositiveFloat = 2.0,
        t2_scale: bool = False,
    ) -> None:
        super().__init__(parts)
        self.temperature, self.t2_scale = temperature, t2_scale
        self.old_share = 0.0

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head together on the images of session and memory."""
        self.old_share = 1 - len(session.present_classes) / len(session.seen_classes)
        return [self.body_phase(self.session_rows(session), session.seen_classes, self.head)]

    def sample_losses(self, inputs: Tensor, features: Tensor, logits: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """[B]; plain cross-entropy in the first session."""
        if self.previous is None:
            return self.loss(logits, labels)
        kept = distillation(logits[:, : self.previous.n_classes], self.previous.logits(inputs), self.temperature)
        kept = kept if self.t2_scale else kept / self.temperature**2
        return (1 - self.old_share) * self.loss(logits, labels) + self.old_share * kept

    def end_session(self, session: Session, samples: Samples) -> None:
        """Align the new rows."""
        n_new = len(session.new_classes)
        if 0 < n_new < len(session.seen_classes):
            align(self.head.get_parameter("weight"), n_new)


@torch.no_grad()
def align(weight: Tensor, n_new: int) -> float:
    """Scale the last `n_new` rows of `weight` [C, D], in place, to the mean norm of the others. Returns: gamma."""
    norms = weight.double().norm(dim=1)  # [C]
    gamma = float(norms[:-n_new].mean() / norms[-n_new:].mean())
    weight[-n_new:] *= gamma
    return gamma
