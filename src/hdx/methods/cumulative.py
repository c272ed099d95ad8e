"""Cumulative: the ceiling that forgets no data."""

from __future__ import annotations

import numpy as np

from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.methods._temporary import OF_ANOTHER_HEAD, temporary_classifier
from hdx.options import Fraction
from hdx.protocols._base import Session
from hdx.rules import only_when


class Cumulative(Method):
    """Ceiling: in every session the body trains on all data seen so far, starting from its state after the last session.

    An upper bound on what a memory of any size can give; unlike `joint` it never sees the future, and its cost grows with the
    square of the number of sessions. With a gradient head body and head train together, with a statistics head the body trains
    through a temporary head over all classes seen, and the head then learns everything anew under the body as it is.

    Source: the cumulative bound of the class-incremental literature; that it goes on from the last state, and does not start
        from scratch, is as in the Avalanche library (Lomonaco et al. 2021; read in its code).
    Trains: body and head, in every session.
    Keeps: every row seen so far: a bound, not a competitor.
    Certainty: by definition; where it goes on from read in a re-implementation.

    Args:
        dropout: probability before the temporary head.
    """

    trains_in = "every"
    takes_targets = True
    trains_head = True
    sees_all = True
    resets_head = True
    rules = (only_when("dropout", {"head.kind": ("statistics", "episode")}, why=OF_ANOTHER_HEAD, fix="take head=lda"),)

    def __init__(self, parts: Parts, *, dropout: Fraction = 0.5) -> None:
        super().__init__(parts)
        self.dropout = dropout
        self.seen = np.zeros(0, np.int64)  # rows; `phases` sets them in every session, so that they need no checkpoint

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the images of all sessions so far, each once an epoch."""
        self.seen = np.unique(np.concatenate([past.train for past in sessions[: session.index + 1]]))
        if self.head.kind == "gradient":
            return [self.body_phase(self.seen, session.seen_classes, self.head)]
        temporary = temporary_classifier(self.body.n_features, len(session.seen_classes), self.dropout)
        return [self.body_phase(self.seen, session.seen_classes, temporary)]

    def head_rows(self, session: Session) -> np.ndarray:
        """All rows seen."""
        return self.seen
