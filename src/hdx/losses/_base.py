"""The contracts of losses: of labels alone, and of labels and a teacher."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.rules import Rule


class Loss(nn.Module):
    """One value per sample, so that ranks with unequal shards weigh every sample alike.

    Facts, read from source (`hdx.config.facts`):
        needs: what it compares beside logits and labels: "teacher", "features" (of student and teacher), "layers".
    """

    needs: ClassVar[tuple[str, ...]] = ()
    rules: ClassVar[tuple[Rule, ...]] = ()

    @abstractmethod
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] from logits [B, C] and labels [B] int64; 16-bit logits are computed in float32."""

    def of_linear(self, features: Tensor, weight: Tensor, bias: Tensor | None, labels: Tensor) -> Tensor | None:
        """[B], the same of the logits features @ weight.T + bias, for a loss that needs no logits; None where it does."""
        return None


@dataclass
class Outputs:
    """What a model says of a batch.

    Attributes:
        logits: [B, C].
        features: [B, D] after the pool; None where nobody asked for them.
    """

    logits: Tensor
    features: Tensor | None = None


class DistillationLoss(Loss):
    """A loss of a student's outputs beside a teacher's, one value per sample.

    A label of -1 marks a sample without one: terms that need the label are 0 for it. No gradient flows into the teacher.
    `distill` reads `Outputs.features` of both where `needs` has "features".
    """

    needs: ClassVar[tuple[str, ...]] = ("teacher",)

    def prepare(self, student_features: int, teacher_features: int, n_classes: int) -> None:  # noqa: B027
        """Make the loss's own parameters, where it has any, before a phase; they train along with the student.

        Args:
            student_features, teacher_features: D of each; n_classes: C of the phase.
        """

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        """[B] cross-entropy, 0 where the label is -1: what is left without a teacher."""
        return labelled_cross_entropy(logits, labels)

    @abstractmethod
    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B] losses.

        Args:
            student, teacher: over the same classes, logits [B, C] each; 16-bit ones are computed in float32.
            labels: [B] int64 in [0, C), or -1.
            epoch: 1 in the first epoch of a phase.
        """


def labelled_cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """[B] cross-entropy of logits [B, C], 0 where the label is -1; 16-bit logits are computed in float32."""
    wide = logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits
    return F.cross_entropy(wide, labels, reduction="none", ignore_index=-1)
