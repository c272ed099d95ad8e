"""RKD: the student's features keep the distances and angles that the teacher's have within a batch."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from hdx.losses._base import DistillationLoss, Outputs, labelled_cross_entropy
from hdx.ops.rkd_triplet import rkd_triplet
from hdx.options import NonNegativeFloat


class RKD(DistillationLoss):
    """Relational knowledge distillation: ce CE(s, y) + distance RKD-D + angle RKD-A.

    RKD-D is the Huber distance between the two models' distances of all pairs, each divided by its own mean over pairs that are
    not 0 apart; RKD-A that between the cosines of the angles of all triplets (`hdx.ops.rkd_triplet`). Both are means over ordered
    pairs and triplets, as in the authors' code. Features may differ in size. A sample's value is its share as the pair's first
    sample or the angle's vertex, so that the mean over the batch is the batch's loss. The relations are those within the batch,
    and under several ranks those within each rank's part of it.

    Source: Park et al. 2019, "Relational Knowledge Distillation"; weights of RKD-DA as in the authors' code.

    Args:
        distance: weight of RKD-D.
        angle: weight of RKD-A.
        ce: weight of the cross-entropy, of samples with a label.
    """

    needs = ("teacher", "features")

    def __init__(self, *, distance: NonNegativeFloat = 25.0, angle: NonNegativeFloat = 50.0, ce: NonNegativeFloat = 1.0) -> None:
        super().__init__()
        self.distance, self.angle, self.ce = distance, angle, ce

    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B], the same in every epoch."""
        assert student.features is not None and teacher.features is not None
        losses = self.ce * labelled_cross_entropy(student.logits, labels)
        if self.distance:
            losses = losses + self.distance * distance_losses(student.features, teacher.features)
        if self.angle:
            losses = losses + self.angle * rkd_triplet(student.features, teacher.features)
        return losses


def distance_losses(student: Tensor, teacher: Tensor) -> Tensor:
    """[B]: RKD-D of each sample with all of the batch, from features [B, D] and [B, E]; the gradient passes the mean distance."""
    own, asked = _relative_distances(student), _relative_distances(teacher.detach())
    return F.huber_loss(own, asked, reduction="none").sum(1) / max(len(student), 1)


def _relative_distances(features: Tensor) -> Tensor:
    """[B, B] over the mean of those that are not 0; features that are all equal have distances 0."""
    wide = features.float() if features.dtype in (torch.float16, torch.bfloat16) else features
    distances = torch.cdist(wide, wide, compute_mode="donot_use_mm_for_euclid_dist")
    apart = (distances > 0).sum()
    return distances / torch.where(apart > 0, distances.sum() / apart.clamp(min=1), 1.0)
