"""CutMix: fine-tuning on images with a box of another one pasted in, and on targets mixed by area."""

from __future__ import annotations

from functools import partial

from torch import Tensor
from torch.nn import functional as F

from hdx.augments import _mix
from hdx.methods._base import Phase
from hdx.methods._parts import Parts
from hdx.methods.finetune import Finetune
from hdx.options import Fraction, PositiveFloat
from hdx.protocols._base import Session


class CutMix(Finetune):
    """CutMix: as `finetune`, on batches in which each image has a box of another one, and on soft targets.

    Targets are one-hot with `smoothing` of them spread over the classes, mixed by the area that each image has. Mixing comes
    after the augmentations of the trainer, before the body's transform.

    Source: Yun et al. 2019, "CutMix: Regularization Strategy to Train Strong Classifiers with Localizable Features"; smoothing:
        Szegedy et al. 2016.
    Trains: body and head, in every session.
    Keeps: nothing.
    Certainty: by definition.

    Args:
        alpha: of the Beta distribution of the area; the paper's 1 is uniform.
        share: of the batches that are mixed; the paper's 0.5 on CIFAR and 1 on ImageNet.
        smoothing: share of a target that is spread evenly over the classes.
        dropout: probability before the temporary head of a body whose own head is solved.
    """

    takes_targets = False  # it mixes itself

    def __init__(
        self,
        parts: Parts,
        *,
        alpha: PositiveFloat = 1.0,
        share: Fraction = 0.5,
        smoothing: Fraction = 0.1,
        dropout: Fraction = 0.5,
    ) -> None:
        super().__init__(parts, dropout=dropout)
        self.mixing, self.smoothing = _mix.CutMix(alpha, share), smoothing

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's images, mixed."""
        found = super().phases(session, sessions)
        for phase in found:
            phase.targets = partial(smoothed, n_classes=len(phase.classes), smoothing=self.smoothing)
            phase.mix = self.mixing
        return found


def smoothed(labels: Tensor, n_classes: int, smoothing: float) -> Tensor:
    """[N, C] targets of labels [N]: one-hot, of which a share is spread evenly over all classes."""
    return (1 - smoothing) * F.one_hot(labels, n_classes).float() + smoothing / n_classes
