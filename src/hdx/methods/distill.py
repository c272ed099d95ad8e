"""Distillation: the student learns from labels and from what a frozen teacher says of the same crops."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from hdx.errors import ConfigError
from hdx.losses._base import DistillationLoss, Loss, Outputs
from hdx.methods._base import Batch, Method, Phase
from hdx.methods._beside import Beside
from hdx.methods._samplers import LabelledSampler
from hdx.protocols._base import Session


class Distill(Method):
    """Distillation: body and head train on every session's images with a loss of the student's outputs beside the teacher's.

    The loss (`loss=kd`, dkd, nkd, rkd, hint) says what is compared. Both see the same augmented crop, each through its own
    transform; the teacher's logits are taken over the classes seen, by name, and no gradient flows into it. Rows without a label
    (`protocol.labels`) train on what the loss has without one: every batch is then half labelled and half not, an epoch is one
    pass over the rows without, and the labelled ones come round as often as that takes. All terms are averaged over the whole
    batch, so the cross-entropy of a half-labelled batch counts half. In class-incremental sessions every session trains, and the
    rows of a memory join in.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; halves after DHO (Kang et al. 2025), whose scripts
        for ImageNet cycle the labelled loader.
    """

    trains_in = "every"
    trains_head = True
    heads = ("gradient",)
    gives: ClassVar[tuple[str, ...]] = ("teacher", "features")
    uses_memory = True
    uses_teacher = True

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for a loss without a teacher's part, or batches that have no half."""
        self.check_loss()
        if any(session.unlabelled is not None for session in sessions) and self.recipe.batch_size < 2:
            raise ConfigError(
                f"protocol.labels: trainer.batch_size={self.recipe.batch_size} has no half for rows without a label, "
                "take trainer.batch_size=2 or more"
            )

    def check_loss(self) -> None:
        """Raises: ConfigError for a loss that does not compare with a teacher."""
        if not isinstance(self.loss, DistillationLoss):
            raise ConfigError(f"loss={type(self.loss).__name__} does not compare with a teacher: take loss=kd  (hdx list loss)")

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's rows, the memory's, and those without a label."""
        return [self.taught_phase(session, self._classifier(session))]

    def _classifier(self, session: Session) -> nn.Module:
        assert isinstance(self.loss, DistillationLoss)
        self.loss.prepare(self.body.n_features, self.teacher_features, len(session.seen_classes))
        return Beside(self.head, loss=self.loss.to(self.device)) if any(True for _ in self.loss.parameters()) else self.head

    def taught_phase(self, session: Session, classifier: nn.Module) -> Phase:
        """The body and `classifier` on labelled rows, then unlabelled ones, with the images for the teacher."""
        rows = self.session_rows(session)
        phase = self.body_phase(rows, session.seen_classes, classifier)
        phase.raw = True
        if session.unlabelled is not None and len(session.unlabelled):
            phase.indices = np.concatenate([rows, session.unlabelled])
            phase.sampler = LabelledSampler(len(rows), self.recipe.batch_size)
        return phase

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert self.classifier is not None and isinstance(self.loss, DistillationLoss)
        student, teacher = self.both(batch)
        return self.loss.distill(student, teacher, batch.labels, batch.epoch).sum() * batch.weight + self.penalty()

    def both(self, batch: Batch) -> tuple[Outputs, Outputs]:
        """What student and teacher say of a batch."""
        assert self.classifier is not None and self.teaching is not None
        features = self.body(batch.inputs)
        return Outputs(self.classifier(features), features), self.teaching(batch)


def labelled(loss: Loss, logits: Tensor, labels: Tensor) -> Tensor:
    """[B] losses of logits [B, C], 0 for samples whose label is -1."""
    return torch.where(labels >= 0, loss(logits, labels.clamp(min=0)), 0.0)
