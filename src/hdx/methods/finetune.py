"""Finetune: keep training the body in every session."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor

from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.methods._temporary import OF_ANOTHER_HEAD, temporary_classifier
from hdx.options import Fraction
from hdx.protocols._base import Session
from hdx.rules import Rule, only_when, refuse


class Finetune(Method):
    """Naive baseline: the body trains on every session's own data and forgets the rest.

    With a gradient head body and head train together, over all classes seen. With a statistics head the body trains through a
    temporary head over the session's classes, and the statistics of old classes stay those of the old body (FSA's FT arm).

    mask=old leaves the logits of classes that the session has no images of out of the softmax, so that new images do not push
    old classes away: their rows get no gradient at all (weight decay still acts on them). All logits compete when the run is
    scored. The formula is that of the cross-entropy on new samples in ER-ACE, which masks by batch where this masks by session.

    Source: the fine-tuning baseline of the class-incremental literature; FT arm of FSA (Panos et al. 2023); mask: Caccia et al.
        2022, "New Insights on Reducing Abrupt Representation Change" (read in re-implementations).
    Trains: body and head, in every session.
    Keeps: nothing.
    Certainty: by definition; the mask read in re-implementations.

    Args:
        dropout: probability before the temporary head.
        mask: old takes the softmax over the classes of the session alone, none over all classes seen; a gradient head only.
    """

    trains_in = "every"
    takes_targets = True
    trains_head = True
    rules: ClassVar[tuple[Rule, ...]] = (
        only_when(
            "mask",
            {"head.kind": "gradient"},
            why="masks the logits of a trained head, and {head} is solved",
            fix="take head=linear",
        ),
        refuse(
            {"augment.mixes": True, "mask": "old"},
            say="{mask} takes labels and not the mixed targets of {augment}: take mask=none",
        ),
        only_when("dropout", {"head.kind": ("statistics", "episode")}, why=OF_ANOTHER_HEAD, fix="take head=lda"),
    )

    def __init__(
        self,
        parts: Parts,
        *,
        dropout: Fraction = 0.5,
        mask: Literal["none", "old"] = "none",
    ) -> None:
        super().__init__(parts)
        self.dropout, self.mask = dropout, mask
        self.columns: Tensor | None = None

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's images."""
        if self.head.kind == "gradient":
            self.columns = self._columns(session) if self.mask == "old" else None
            return [self.body_phase(session.train, session.seen_classes, self.head)]
        classes = session.present_classes
        temporary = temporary_classifier(self.body.n_features, len(classes), self.dropout)
        return [self.body_phase(session.train, classes, temporary)]

    def _columns(self, session: Session) -> Tensor:
        """Positions of the session's classes among the logits, ascending."""
        present = set(session.present_classes)
        return torch.tensor([i for i, label in enumerate(session.seen_classes) if label in present], device=self.device)

    @property
    def plain(self) -> bool:
        """Where nothing is masked."""
        return type(self).sample_losses is Finetune.sample_losses and self.columns is None

    def sample_losses(self, inputs: Tensor, features: Tensor, logits: Tensor, labels: Tensor, positions: Tensor) -> Tensor:
        """[B], over the columns that are not masked."""
        if self.columns is not None:
            logits, labels = logits[:, self.columns], torch.searchsorted(self.columns, labels)
        return super().sample_losses(inputs, features, logits, labels, positions)
