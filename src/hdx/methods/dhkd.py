"""DHKD: the teacher's logits teach an auxiliary head, so that they do not disturb the classifier."""

from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from hdx.losses._bkl import binary_kl
from hdx.methods._align import aligned
from hdx.methods._base import Batch, Phase
from hdx.methods._beside import Beside
from hdx.methods._parts import Parts
from hdx.methods.distill import Distill, labelled
from hdx.options import NonNegativeFloat, PositiveFloat
from hdx.protocols._base import Session

HIDDEN, DROPOUT = 200, 0.1


class Dhkd(Distill):
    """Dual-head knowledge distillation: the head learns the labels, an auxiliary one the teacher's logits; both train the body.

    loss = gamma CE(z, y) + alpha T^2 sum_c KL(1/2 || sigmoid((a_c - t_c) / T)), a of the auxiliary head, which is thrown away
    when the training of a session is over. The divergence is summed over classes, so that it grows with their number, and
    everything is averaged over the batch. With `align` the part of the second gradient that goes against the first is taken out
    of it, over all parameters together; a step then costs a second backward pass. The auxiliary head is made anew in every
    session.

    Source: Yang et al. 2024, "Dual-Head Knowledge Distillation: Enhancing Logits Utilization with an Auxiliary Head"; loss,
        heads, alignment and defaults (CIFAR-100) read in the authors' code.

    Args:
        gamma: weight of the labels.
        alpha: weight of the teacher; 0.1 for ImageNet.
        temperature: T.
        t2_scale: multiply the divergence by T^2.
        auxiliary: linear, or two layers with dropout and batch norm between them.
        align: take out of the teacher's gradient what goes against the labels'.
    """

    gives = ()

    def __init__(
        self,
        parts: Parts,
        *,
        gamma: NonNegativeFloat = 1.0,
        alpha: NonNegativeFloat = 1.0,
        temperature: PositiveFloat = 2.0,
        t2_scale: bool = True,
        auxiliary: Literal["linear", "nonlinear"] = "nonlinear",
        align: bool = True,
    ) -> None:
        super().__init__(parts)
        self.gamma, self.alpha, self.temperature, self.t2_scale = gamma, alpha, temperature, t2_scale
        self.auxiliary, self.align = auxiliary, align

    def check_loss(self) -> None:
        """Any loss of labels will do."""

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body, head and a fresh auxiliary head."""
        n_classes = len(session.seen_classes)
        auxiliary = auxiliary_head(self.body.n_features, n_classes, self.auxiliary).to(self.device)
        return [self.taught_phase(session, Beside(self.head, auxiliary=auxiliary))]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert isinstance(self.classifier, Beside) and self.teaching is not None and self.current is not None
        features = self.body(batch.inputs)
        logits, extra = self.classifier(features), self.classifier.parts["auxiliary"](features)
        main = self.gamma * labelled(self.loss, logits, batch.labels).sum() * batch.weight
        taught = binary_kl(extra, self.teaching(batch).logits, self.temperature, self.t2_scale)
        other = self.alpha * taught.sum() * batch.weight
        total = aligned(main, other, self.current.parameters) if self.align else main + other
        return total + self.penalty()


def auxiliary_head(n_features: int, n_classes: int, kind: str) -> nn.Module:
    """Features [B, D] to logits [B, C]: linear, or with a hidden layer of 200 as the authors have it."""
    if kind == "linear":
        return nn.Linear(n_features, n_classes)
    hidden = [nn.Linear(n_features, HIDDEN), nn.Dropout(DROPOUT), nn.BatchNorm1d(HIDDEN), nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(HIDDEN, n_classes))
