"""First Session Adaptation: the body trains on the first session only."""

from __future__ import annotations

from hdx.heads._base import Head
from hdx.losses._base import Loss
from hdx.methods._base import Method, Phase, temporary_classifier
from hdx.methods._body import Body
from hdx.options import Fraction
from hdx.protocols._base import Session
from hdx.trainers.recipe import Recipe


class FirstSession(Method):
    """First Session Adaptation: adapt the body on session 1 with a temporary linear head, then freeze it.

    The temporary head (with dropout before it) is thrown away; `head` is then updated on the adapted features, exactly
    where it is a statistics head. A gradient head keeps training on each session's cached features (the paper's LL arm).

    Source: Panos et al. 2023, "First Session Adaptation"; settings read in the authors' code.

    Args:
        dropout: probability before the temporary head.
    """

    def __init__(self, body: Body, head: Head, loss: Loss, recipe: Recipe, *, dropout: Fraction = 0.5) -> None:
        super().__init__(body, head, loss, recipe)
        self.dropout = dropout

    def trains_body(self, session: int) -> bool:
        """Only in the first session."""
        return session == 0

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Session 1: the body with the temporary head, then the gradient head if there is one."""
        found = [] if session.index else [self._adaptation(session, sessions)]
        return found + super().phases(session, sessions)

    def _adaptation(self, session: Session, sessions: list[Session]) -> Phase:
        classes = session.new_classes
        return self.body_phase(session.train, classes, temporary_classifier(self.body.n_features, len(classes), self.dropout))
