"""iCaRL: exemplars, distillation, and classification by the nearest mean of exemplars."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.heads._base import Head
from hdx.heads.linear import Linear
from hdx.losses._distillation import distillation
from hdx.memories._base import Samples
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.options import PositiveFloat
from hdx.protocols._base import Session
from hdx.rules import only_when


class ICaRL(Method):
    """iCaRL: body and classifier train on new data and exemplars with distillation; the nearest mean of exemplars decides.

    The classifier that trains is the method's own and only teaches the body. The run's head then forgets everything and learns
    from the memory's exemplars, old and new ones under the body as it is: with head=ncm_cosine and memory=replay that chooses
    by herding this is the paper. With a gradient head (head=linear) that head trains in the classifier's place and decides
    itself, the paper's ablation "hybrid1".

    `sigmoid`: C binary cross-entropies, summed over classes, averaged over the samples of a batch. The targets of the classes
    that the previous model knows are its sigmoid outputs on the same (augmented) image, those of the others 1 for the sample's
    class and 0 else. (The authors' code averages over classes, which only scales the learning rate.) `softmax`: cross-entropy
    over all classes + KL(softmax(z_old / T) || softmax(z / T)) over the old ones, without T^2, as re-implementations have it.

    Where the paper is silent: a session's own sample of an old class (a class seen again) has target 1 for that class, in place
    of the previous model's output; a class without exemplars is never predicted; with a memory of size 0 each
    class keeps the mean of its own samples under the body of its time. The authors also average each exemplar with its mirror
    image; here it counts as it is.

    Source: Rebuffi et al. 2017, "iCaRL: Incremental Classifier and Representation Learning", algorithms 1-3; targets read in the
        authors' code, the softmax form in re-implementations that descend from PyCIL.
    Trains: body and its own classifier, in every session.
    Keeps: rows of the train split, within the bound of `memory`; a copy of the model while a session trains.
    Certainty: targets read in the authors' code.

    Args:
        activation: sigmoid, as in the paper, or softmax.
        temperature: T of the distillation with activation=softmax.
    """

    trains_in = "every"
    trains_head = True
    needs_memory = True
    uses_memory = True
    keeps_previous = True
    rules = (only_when("loss.label_smoothing", activation="softmax"), only_when("temperature", activation="softmax"))

    def __init__(
        self,
        parts: Parts,
        *,
        activation: Literal["sigmoid", "softmax"] = "sigmoid",
        temperature: PositiveFloat = 2.0,
    ) -> None:
        super().__init__(parts)
        self.activation, self.temperature = activation, temperature
        self.linear = None if self.head.kind == "gradient" else Linear(self.body.n_features)
        self.n_own = 0

    @property
    def trained_head(self) -> Head:
        """The method's own classifier, or the run's head where that is trained by gradient descent."""
        return self.head if self.linear is None else self.linear

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and classifier on the session's images, then the exemplars."""
        if self.linear is not None:
            self.linear.expand(len(session.seen_classes) - self.linear.n_classes)
        self.n_own = len(session.train)
        return [self.body_phase(self.session_rows(session), session.seen_classes, self.trained_head)]

    def sample_losses(self, inputs: Tensor, features: Tensor, logits: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """[B]; the first `n_own` positions are the session's own samples, the others exemplars."""
        old = self.previous.logits(inputs) if self.previous is not None else None  # [B, C_old]
        if self.activation == "sigmoid":
            return binary_losses(logits, labels, old, positions < self.n_own)
        losses = self.loss(logits, labels)
        if old is None:
            return losses
        return losses + distillation(logits[:, : old.shape[1]], old, self.temperature) / self.temperature**2

    def memorised(self, session: Session, samples: Samples) -> None:
        """The head starts over where there are exemplars for it."""
        self.resets_head = len(self.memory.rows) > 0

    def head_rows(self, session: Session) -> np.ndarray:
        """The exemplars; without any the session's own rows."""
        return self.memory.rows if len(self.memory.rows) else session.train

    def extra_state(self) -> dict[str, Tensor]:
        """The memory's, and the classifier."""
        own = {} if self.linear is None else self.linear.state_dict()
        return super().extra_state() | {f"linear.{name}": value for name, value in own.items()}

    def load_extra(self, state: dict[str, Tensor]) -> None:
        """Take over what `extra_state` gave; the classifier grows to its size."""
        super().load_extra(state)
        if self.linear is not None:
            own = {name.removeprefix("linear."): value for name, value in state.items() if name.startswith("linear.")}
            self.linear.restore(own, len(own["weight"]))


def binary_losses(logits: Tensor, labels: Tensor, old: Tensor | None, own: Tensor) -> Tensor:
    """Sums over the classes of binary cross-entropies [B] (Rebuffi et al. 2017, algorithm 3); see `ICaRL` for the targets.

    Args:
        logits: [B, C]; labels: [B] positions of the logits.
        old: [B, C_old] logits of the previous model, C_old <= C; None where there is none.
        own: [B] bool, samples of the session and not of the memory.
    """
    with torch.no_grad():
        targets = F.one_hot(labels, logits.shape[1]).float()  # [B, C]
        if old is not None:
            learnt = targets[:, : old.shape[1]].bool() & own[:, None]  # [B, C_old] a class that is seen again
            targets[:, : old.shape[1]] = torch.where(learnt, 1.0, old.float().sigmoid())
    return F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="none").sum(1)
