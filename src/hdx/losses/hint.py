"""Feature hints: the student's features, through a linear map, at the teacher's."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from hdx.losses._base import DistillationLoss, Outputs, labelled_cross_entropy
from hdx.options import NonNegativeFloat


class Hint(DistillationLoss):
    """Hints: CE(s, y) + weight * mean_d (r(f_s) - f_t)^2, r a linear map from the student's D features to the teacher's.

    Features are those after the pool. Over an average pool the linear map is the 1 x 1 convolution of FitNets on the map before
    it, since the two commute; the paper hints a middle layer in a stage of its own before the training with labels, here both are
    trained at once, as re-implementations do (RepDistiller). Reduction: squared errors are averaged over the teacher's features
    and over the batch. With `normalise` both are taken at length 1 and the squared distance is summed, which is 2 - 2 cos:
    features of any scale then weigh alike.

    Source: Romero et al. 2015, "FitNets: Hints for Thin Deep Nets", eq. 3; regressor and mean as in RepDistiller, whose
        weight is 100 (read there).

    Args:
        weight: of the hint; the cross-entropy has 1.
        normalise: compare directions.
    """

    needs = ("teacher", "features")

    def __init__(self, *, weight: NonNegativeFloat = 1.0, normalise: bool = False) -> None:
        super().__init__()
        self.weight, self.normalise = weight, normalise
        self.regressor: nn.Linear | None = None

    def prepare(self, student_features: int, teacher_features: int, n_classes: int) -> None:
        """A fresh regressor; it trains along with the student and is thrown away after the phase."""
        self.regressor = nn.Linear(student_features, teacher_features)

    def distill(self, student: Outputs, teacher: Outputs, labels: Tensor, epoch: int) -> Tensor:
        """[B]; 16-bit features are compared in float32."""
        assert student.features is not None and teacher.features is not None and self.regressor is not None
        found, wanted = self.regressor(student.features), teacher.features.detach().to(student.features.dtype)
        if found.dtype.itemsize < 4:
            found, wanted = found.float(), wanted.float()
        if self.normalise:
            distances = (F.normalize(found, dim=1) - F.normalize(wanted, dim=1)).square().sum(1)
        else:
            distances = (found - wanted).square().mean(1)
        return labelled_cross_entropy(student.logits, labels) + self.weight * distances
