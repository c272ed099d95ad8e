"""USKD: soft labels that the student makes for itself."""

from __future__ import annotations

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn

from hdx.losses._uskd import other_loss, squares, target_loss, weak_loss
from hdx.methods._base import Batch, Method, Phase
from hdx.methods._beside import Beside
from hdx.methods._parts import Parts
from hdx.options import NonNegativeFloat
from hdx.protocols._base import Session


class Uskd(Method):
    """Universal self-knowledge distillation: no teacher; targets come from the student's own prediction and from a weak one.

    loss = CE(s, y) + alpha L_t + beta L_n + mu CE(w, smoothed y), w the logits of a linear head on the feature before the body's
    last stage, which is thrown away after the session.

    - L_t = - P_y log s_y with P_y = s_y^2 + 1 - mean over the batch of s_y^2, without gradient.
    - L_n = - sum over the other classes of z_c log softmax(s without y)_c, z a Zipf distribution (1 / rank, scaled to sum 1) over
      the classes ranked by w_c / (1 - w_y) + s_c / (1 - s_y), without gradient.
    - The weak head learns labels smoothed by 0.1.

    The ranking adds probabilities, as the paper writes it; the authors' code has the log-probability of s in that line, since it
    overwrote the variable before. Everything is summed over classes and averaged over the batch; mu's gradient goes into the body
    as well. In class-incremental sessions every session trains, and the rows of a memory join in.

    Source: Yang et al. 2023, "From Knowledge Distillation to Self-Knowledge Distillation: A Unified Approach with Normalized Loss
        and Customized Soft Labels"; read in the authors' code.

    Args:
        alpha: weight of L_t; 0.1 for ResNet-18 on CIFAR-100, 1 for ImageNet.
        beta: weight of L_n; 0.1 for both.
        mu: weight of the weak head's loss; 0.1 for CIFAR-100, 0.005 for ImageNet.
    """

    trains_in = "every"
    trains_head = True
    heads = ("gradient",)
    uses_memory = True
    taps = (-2,)  # before the last stage

    def __init__(
        self,
        parts: Parts,
        *,
        alpha: NonNegativeFloat = 0.1,
        beta: NonNegativeFloat = 0.1,
        mu: NonNegativeFloat = 0.1,
    ) -> None:
        super().__init__(parts)
        self.alpha, self.beta, self.mu = alpha, beta, mu

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for a backbone without a last block but one."""
        self.body.backbone.block(self.taps[0])

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body, head and a fresh weak head."""
        weak = nn.Linear(self.body.backbone.block(self.taps[0]).channels, len(session.seen_classes)).to(self.device)
        return [self.body_phase(self.session_rows(session), session.seen_classes, Beside(self.head, weak=weak))]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert isinstance(self.classifier, Beside)
        features, blocks = self.body.tapped(batch.inputs, self.taps)
        logits = self.classifier(features)
        weak = self.classifier.parts["weak"](self.body.averaged(blocks[self.taps[0]]))
        losses = self.loss(logits, batch.labels) + self.soft(logits.float(), weak.float(), batch)
        return losses.sum() * batch.weight + self.penalty()

    def soft(self, logits: Tensor, weak: Tensor, batch: Batch) -> Tensor:
        """[B] what comes beside the cross-entropy, of logits [B, C] of head and weak head."""
        mean_square = _whole(squares(logits, batch.labels).sum() * batch.weight)
        return (
            self.alpha * target_loss(logits, batch.labels, mean_square)
            + self.beta * other_loss(logits, weak, batch.labels)
            + self.mu * weak_loss(weak, batch.labels)
        )


@torch.no_grad()
def _whole(mean: Tensor) -> Tensor:
    """The mean over the whole batch, of each rank's weighted sum."""
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        dist.all_reduce(mean)
        mean = mean / dist.get_world_size()
    return mean
