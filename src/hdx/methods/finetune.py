"""Finetune: keep training the body in every session."""

from __future__ import annotations

from hdx.heads._base import Head
from hdx.losses._base import Loss
from hdx.methods._base import Method, Phase, temporary_classifier
from hdx.methods._body import Body
from hdx.options import Fraction
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe


class Finetune(Method):
    """Naive baseline: the body trains on every session's own data and forgets the rest.

    With a gradient head body and head train together, over all classes seen. With a statistics head the body trains through a
    temporary head over the session's classes, and the statistics of old classes stay those of the old body (FSA's FT arm).

    Source: the fine-tuning baseline of the class-incremental literature; FT arm of FSA (Panos et al. 2023).

    Args:
        dropout: probability before the temporary head.
    """

    def __init__(self, body: Body, head: Head, loss: Loss, recipe: Recipe, *, dropout: Fraction = 0.5) -> None:
        super().__init__(body, head, loss, recipe)
        self.dropout = dropout

    def trains_body(self, session: int) -> bool:
        """In every session."""
        return True

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's images."""
        if self.head.kind == "gradient":
            return [self.body_phase(session.train, session.seen_classes, self.head)]
        temporary = temporary_classifier(self.body.n_features, len(session.new_classes), self.dropout)
        return [self.body_phase(session.train, session.new_classes, temporary)]
