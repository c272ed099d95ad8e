"""SLA: the body learns classes and rotations as one joint label."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hdx.errors import ConfigError
from hdx.heads.rotations import TURNS, Rotations, aggregated
from hdx.losses._base import Loss
from hdx.losses._distillation import distillation
from hdx.methods._base import Batch, Method, Phase
from hdx.methods._parts import Parts
from hdx.options import PositiveFloat
from hdx.protocols._base import Session
from hdx.rules import only_when


class Sla(Method):
    """Self-supervised label augmentation: each image comes in four quarter turns, and (class, turn) is one label of 4 C.

    loss = mean over the four turns of CE(joint logits, 4 y + j). With `head.predict=distilled` an own classifier u of the
    unturned image is trained beside: + CE(u, y) + T^2 KL(softmax(a / T) || softmax(u / T)), a the mean over turns of the joint
    logits, without gradient. A batch has four times trainer.batch_size images, and the body's batch norms see all of them. The
    turns are of the transformed image, which is square. Evaluation of `head.predict=aggregated` forwards every test image four
    times.

    Do not use it beside augmentations, or on images, that look the same when they are turned. In class-incremental sessions every
    session trains, and the rows of a memory join in.

    Source: Lee et al. 2020, "Self-supervised Label Augmentation via Input Transformations"; losses, order of labels and T read in
        the authors' code, which can also permute colours (not here).

    Args:
        large: sum the joint loss over turns instead of averaging it, which the authors advise for ImageNet.
        temperature: T.
        t2_scale: multiply the KL by T^2.
    """

    trains_in = "every"
    trains_head = True
    heads = ("rotations",)
    uses_memory = True
    head: Rotations
    rules = (
        only_when("temperature", {"head.predict": "distilled"}),
        only_when("t2_scale", {"head.predict": "distilled"}),
    )

    def __init__(
        self,
        parts: Parts,
        *,
        large: bool = False,
        temperature: PositiveFloat = 1.0,
        t2_scale: bool = True,
    ) -> None:
        super().__init__(parts)
        self.large, self.temperature, self.t2_scale = large, temperature, t2_scale
        self.body.views = self.head.views if isinstance(self.head, Rotations) else 1

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for another head."""
        if not isinstance(self.head, Rotations):
            found = type(self.head).__name__
            raise ConfigError(f"method=sla trains labels of class and turn together, head={found} has none: take head=rotations")

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's rows and the memory's."""
        return [self.body_phase(self.session_rows(session), session.seen_classes, self.head)]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        turned = torch.stack([batch.inputs.rot90(turns, (2, 3)) for turns in range(TURNS)], dim=1)  # [B, 4, 3, S, S]
        features = self.body(turned.flatten(0, 1)).unflatten(0, (-1, TURNS))  # [B, 4, D]
        joint = self.head.on_turns(features)  # [B, 4, C * 4]
        losses = joint_losses(self.loss, joint, batch.labels)
        losses = TURNS * losses if self.large else losses
        if self.head.plain is not None:
            own = self.head.plain(features[:, 0])
            soft = distillation(own, aggregated(joint.float()), self.temperature)
            losses = losses + self.loss(own, batch.labels) + (soft if self.t2_scale else soft / self.temperature**2)
        return losses.sum() * batch.weight + self.penalty()


def joint_losses(loss: Loss, joint: Tensor, labels: Tensor) -> Tensor:
    """[B] means over the turns of the losses of joint logits [B, 4, C * 4] with labels [B] of classes."""
    turns = torch.arange(TURNS, device=labels.device)
    wanted = labels[:, None] * TURNS + turns  # [B, 4]
    return loss(joint.flatten(0, 1), wanted.flatten()).unflatten(0, (-1, TURNS)).mean(1)
