"""Joint: the ceiling that sees all data at once."""

from __future__ import annotations

import numpy as np

from hdx.methods._base import Phase
from hdx.methods.first_session import FirstSession
from hdx.protocols._base import Session


class Joint(FirstSession):
    """Ceiling: the body is adapted once on the training data of all sessions together, past and future.

    Otherwise as `first_session`; a gradient head is trained in each session on the cached features of all data seen so
    far. It breaks the rules of the protocol on purpose: an upper bound, not a competitor.

    Source: the joint (offline) bound of the class-incremental literature.
    Trains: body, once, on all sessions' data (a gradient head: in every session).
    Keeps: every row, the future's too: a bound, not a competitor.
    Certainty: by definition.

    Args:
        dropout: probability before the temporary head.
        head_start: where the temporary head starts: random, or the LDA solution on the unadapted features.
        classifier: whether the temporary head is linear or a cosine classifier.
        scale: inverse temperature of the cosine classifier.
    """

    sees_all = True

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Session 1: the body on everything; then a gradient head, if there is one, on all data seen."""
        seen = np.concatenate([past.train for past in sessions[: session.index + 1]])
        found = [] if session.index else [self._adaptation(session, sessions)]
        return found + self.head_phases(seen, session.seen_classes)

    def _adaptation(self, session: Session, sessions: list[Session]) -> Phase:
        everything = np.concatenate([each.train for each in sessions])
        return self.adaptation_phase(everything, sessions[-1].seen_classes)
