"""DHO: one head for labels, one for the teacher, and a mixture of both that validation rows choose."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from hdx.errors import ConfigError
from hdx.heads.dual import Dual
from hdx.losses._distillation import distillation
from hdx.memories._base import Samples
from hdx.methods._base import Batch, Phase
from hdx.methods._mix import choose_mix
from hdx.methods._parts import Parts
from hdx.methods.distill import Distill, labelled
from hdx.options import Fraction, NonNegativeFloat, PositiveFloat
from hdx.protocols._base import Session
from hdx.rules import NOTHING, refuse

CHOOSES = (
    "{method} chooses alpha and beta on validation rows, and the protocol holds out none: take protocol=offline "
    "protocol.validation=0.1, or give method.alpha and method.beta"
)


class Dho(Distill):
    """Dual-head optimisation: labels train one head, the teacher another, on one body; their mixed probabilities decide.

    loss = a CE(z_ce, y) + b T^2 KL(softmax(t / T) || softmax(z_kd / T)), the cross-entropy averaged over the labelled samples of
    a batch and the KL, summed over classes, over the labelled ones plus over the unlabelled ones, as in the paper: a batch is
    half and half, so both terms of the rows' mean are doubled. No label's gradient reaches the teacher's head, and none of the
    teacher that of the labels.

    p = alpha softmax(z_ce) + (1 - alpha) softmax(z_kd / beta) is what `head=dual` computes. alpha in {0, 0.05 … 1} and beta in
    {0.5, 0.75, 1, 1.25, 1.5, 2, 4} are chosen when training is over, for the accuracy on the rows that `protocol.validation`
    holds out, of equal ones the lower cross-entropy. (The authors' ImageNet script chooses them, and the epoch, on the test set;
    that is not copied.) What either head has alone is recorded beside, as `selection`, in the session's record.

    An epoch is one pass over the unlabelled rows with the labelled ones cycled, as in the authors' ImageNet script; their small
    scripts stop at the shorter loader. Their CLIP students start the heads from text embeddings and normalise the features of the
    teacher's head, which bodies here have no counterpart of.

    Source: Kang et al. 2025, "Simple yet Effective Semi-supervised Knowledge Distillation from Vision-Language Models via
        Dual-Head Optimization"; losses, weights and grids read in the authors' code.

    Args:
        weight_labels: a; 0.5 in the authors' few-shot scripts, 1 in their ImageNet ones.
        weight_teacher: b, as a.
        temperature: T.
        t2_scale: multiply the KL by T^2.
        alpha: weight of the labels' head; null chooses it on validation rows.
        beta: temperature of the teacher's head in the mixture; null chooses it on validation rows.
    """

    heads = ("dual",)
    gives = ()
    head: Dual
    rules = (
        refuse({"alpha": None, "protocol.validation": NOTHING}, CHOOSES),
        refuse({"beta": None, "protocol.validation": NOTHING}, CHOOSES),
    )

    def __init__(
        self,
        parts: Parts,
        *,
        weight_labels: NonNegativeFloat = 0.5,
        weight_teacher: NonNegativeFloat = 0.5,
        temperature: PositiveFloat = 2.0,
        t2_scale: bool = True,
        alpha: Fraction | None = None,
        beta: PositiveFloat | None = None,
    ) -> None:
        super().__init__(parts)
        self.weight_labels, self.weight_teacher = weight_labels, weight_teacher
        self.temperature, self.t2_scale = temperature, t2_scale
        self.alpha, self.beta = alpha, beta
        self.times = 1.0

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for another head, or where nothing is held out to choose by."""
        super().check(labels, sessions)
        if not isinstance(self.head, Dual):
            raise ConfigError(f"method=dho trains two heads, and head={type(self.head).__name__} is one: take head=dual")
        if None in (self.alpha, self.beta) and any(session.validation is None for session in sessions):
            raise ConfigError(
                "method=dho chooses alpha and beta on validation rows, and the protocol holds out none: take protocol=offline "
                "protocol.validation=0.1, or give method.alpha and method.beta"
            )

    def check_loss(self) -> None:
        """Any loss of labels will do."""

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and both heads."""
        phase = self.taught_phase(session, self.head)
        self.times = 1.0 if phase.sampler is None else 2.0  # a term's mean over its half, from the mean over the batch
        return [phase]

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert self.teaching is not None
        on_labels, on_teacher = self.head.both(self.body(batch.inputs))
        taught = distillation(on_teacher, self.teaching(batch).logits, self.temperature)
        taught = taught if self.t2_scale else taught / self.temperature**2
        losses = self.weight_labels * labelled(self.loss, on_labels, batch.labels) + self.weight_teacher * taught
        return self.times * losses.sum() * batch.weight + self.penalty()

    def end_session(self, session: Session, samples: Samples) -> None:
        """Set the mixture, and note what it and either head come to on the validation rows."""
        if session.validation is None:
            self._set(float(self.alpha or 0.0), float(self.beta or 1.0))
            return
        places = {label: place for place, label in enumerate(session.seen_classes)}
        labels = np.array([places[int(label)] for label in samples.labels[session.validation]])
        features = torch.from_numpy(samples.features(session.validation)).to(self.head.alpha.device)
        with torch.no_grad():
            logits = [each.double().cpu().numpy() for each in self.head.both(features)]
        self.selection = choose_mix(logits[0], logits[1], labels, self.alpha, self.beta)
        self._set(self.selection["alpha"], self.selection["beta"])

    def _set(self, alpha: float, beta: float) -> None:
        self.head.alpha.fill_(alpha)
        self.head.beta.fill_(beta)
