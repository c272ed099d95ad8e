"""DKD: KD split into what the teacher says of the target and what it says of the other classes."""

from __future__ import annotations

from torch import Tensor

from hdx.losses._base import DistillationLoss, Outputs
from hdx.ops.kd_rows import kd_rows
from hdx.options import NonNegativeFloat, NonNegativeInt, PositiveFloat


class DKD(DistillationLoss):
    """Decoupled knowledge distillation: ce CE + min(epoch / warmup, 1) T^2 (alpha TCKD + beta NCKD), per sample.

    TCKD is KL between teacher and student of (p_y, 1 - p_y), NCKD that of the softmax over the classes but y, all at T; KD is
    TCKD + (1 - q_y) NCKD, with q_y the teacher's. Both are summed over classes. The authors' code masks the target by -1000 and
    clips nothing; here it is left out of the sum, which also holds where p_y is 1 in float32. A sample without a label takes the
    class that the teacher puts first as y, and has no cross-entropy (hdx's choice: the paper has labels).

    Source: Zhao et al. 2022, "Decoupled Knowledge Distillation"; defaults and the warm-up as in the authors' code (ResNet-32x4 to
        8x4 on CIFAR-100).

    Args:
        temperature: T of all four softmaxes.
        alpha: weight of the target term.
        beta: weight of the non-target term: 8 or 6 on CIFAR-100, and 0.5 on ImageNet with T = 1.
        ce: weight of the cross-entropy.
        warmup: epochs over which both terms grow linearly to their weight; 0 for none.
        t2_scale: multiply both terms by T^2.
    """

    def __init__(
        self,
        *,
        temperature: PositiveFloat = 4.0,
        alpha: NonNegativeFloat = 1.0,
        beta: NonNegativeFloat = 8.0,
        ce: NonNegativeFloat = 1.0,
        warmup: NonNegativeInt = 20,
        t2_scale: bool = True,
    ) -> None:
        super().__init__()
        self.temperature, self.alpha, self.beta = temperature, alpha, beta
        self.ce, self.warmup, self.t2_scale = ce, warmup, t2_scale

    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B]; both terms have 1 / warmup of their weight in the first epoch."""
        scale = min(epoch / self.warmup, 1.0) if self.warmup else 1.0
        scale *= self.temperature**2 if self.t2_scale else 1.0
        return kd_rows(
            student.logits,
            teacher.logits,
            labels,
            temperature=self.temperature,
            ce=self.ce,
            target=scale * self.alpha,
            non_target=scale * self.beta,
        )
