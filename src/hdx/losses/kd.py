"""KD: the teacher's softened probabilities as targets, beside the labels."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from hdx.losses._base import DistillationLoss, Outputs
from hdx.ops.kd_rows import kd_rows
from hdx.options import Fraction, PositiveFloat


class KD(DistillationLoss):
    """Knowledge distillation: (1 - alpha) CE(s, y) + alpha T^2 KL(softmax(t / T) || softmax(s / T)), per sample.

    Toolboxes differ in what they sum and scale: the divergence is summed over classes here, as in the paper, and the mean over
    the batch is taken by the engine. A sample without a label has the second term alone.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; temperature and alpha as in mdistiller's CIFAR-100
        recipe (Zhao et al. 2022).

    Args:
        temperature: T of both softmaxes.
        alpha: weight of the divergence; the cross-entropy has 1 - alpha.
        t2_scale: multiply the divergence by T^2, so that its gradient keeps its size at every T; CV-DD leaves it out.
        reduction: of the divergence over classes: sum, or mean as in DeiT, which divides by the number of classes as well.
    """

    def __init__(
        self,
        *,
        temperature: PositiveFloat = 4.0,
        alpha: Fraction = 0.9,
        t2_scale: bool = True,
        reduction: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        self.temperature, self.alpha, self.t2_scale, self.reduction = temperature, alpha, t2_scale, reduction

    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B], the same in every epoch."""
        scale = self.temperature**2 if self.t2_scale else 1.0
        n_classes = student.logits.shape[1] if self.reduction == "mean" else 1
        return kd_rows(
            student.logits,
            teacher.logits,
            labels,
            temperature=self.temperature,
            ce=1 - self.alpha,
            kd=self.alpha * scale / n_classes,
        )
