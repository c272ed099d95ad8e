"""Knowledge distillation of logits."""

from __future__ import annotations

from torch import Tensor

from hdx.losses._base import DistillationLoss, Outputs, labelled_cross_entropy
from hdx.losses._distillation import distillation
from hdx.options import Fraction, PositiveFloat


class KD(DistillationLoss):
    """Knowledge distillation: (1 - alpha) CE(s, y) + alpha T^2 KL(softmax(t / T) || softmax(s / T)).

    Reduction: the KL is summed over classes, and everything is averaged over the batch; a sample without a label has the KL
    alone, and counts in that average.

    Source: Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"; weights and T as mdistiller has them.

    Args:
        temperature: T of both softmaxes.
        alpha: weight of the KL; the cross-entropy gets 1 - alpha.
        t2_scale: multiply the KL by T^2, so that its gradient is about as large at every temperature.
    """

    def __init__(self, *, temperature: PositiveFloat = 4.0, alpha: Fraction = 0.9, t2_scale: bool = True) -> None:
        super().__init__()
        self.temperature, self.alpha, self.t2_scale = temperature, alpha, t2_scale

    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B]; 16-bit logits are computed in float32."""
        soft = distillation(student.logits, teacher.logits, self.temperature)
        soft = soft if self.t2_scale else soft / self.temperature**2
        return (1 - self.alpha) * labelled_cross_entropy(student.logits, labels) + self.alpha * soft
