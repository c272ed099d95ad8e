"""NKD: the teacher's probability of the target as a weight, and its other classes made a distribution of their own."""

from __future__ import annotations

from torch import Tensor

from hdx.losses._base import DistillationLoss, Outputs
from hdx.ops.kd_rows import kd_rows
from hdx.options import NonNegativeFloat, PositiveFloat


class NKD(DistillationLoss):
    """Normalised KD: ce CE(s, y) - t_y log s_y - gamma T^2 sum_{c != y} t'_c log s'_c, per sample.

    t_y and s_y are probabilities at temperature 1 over all classes; t' and s' are the softmax at T over the classes but y. The
    last term is a cross-entropy and keeps the entropy of t': it does not reach 0. A sample without a label takes the class that
    the teacher puts first as y, and has no cross-entropy (hdx's choice: the paper has labels).

    Source: Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation"; defaults as in the authors' code for
        ImageNet (CIFAR-100, ResNet-34 to 18: T = 3, gamma = 3.5).

    Args:
        temperature: T of the softmax over the classes but y.
        gamma: weight of the term of the classes but y.
        ce: weight of the cross-entropy.
        t2_scale: multiply the term of the classes but y by T^2.
    """

    def __init__(
        self,
        *,
        temperature: PositiveFloat = 1.0,
        gamma: NonNegativeFloat = 1.5,
        ce: NonNegativeFloat = 1.0,
        t2_scale: bool = True,
    ) -> None:
        super().__init__()
        self.temperature, self.gamma, self.ce, self.t2_scale = temperature, gamma, ce, t2_scale

    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B], the same in every epoch."""
        return kd_rows(
            student.logits,
            teacher.logits,
            labels,
            temperature=self.temperature,
            ce=self.ce,
            teacher_ce=1.0,
            non_target_ce=self.gamma * (self.temperature**2 if self.t2_scale else 1.0),
        )
