"""First Session Adaptation: the body trains on the first session only."""

from __future__ import annotations

from functools import partial
from typing import Literal

import numpy as np
from torch import nn

from hdx.heads.cosine import Cosine
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.methods._temporary import start_from_lda, temporary_classifier
from hdx.options import Fraction, PositiveFloat
from hdx.protocols._base import Session
from hdx.rules import only_when


class FirstSession(Method):
    """First Session Adaptation: adapt the body on session 1 with a temporary head, then freeze it.

    The temporary head (with dropout before it) is thrown away; `head` is then updated on the adapted features, exactly
    where it is a statistics head. A gradient head keeps training on each session's cached features (the paper's LL arm).

    Source: Panos et al. 2023, "First Session Adaptation"; settings read in the authors' code.
    Trains: body, in the first session (a gradient head: in every one).
    Keeps: nothing.
    Certainty: read in the authors' code.

    Args:
        dropout: probability before the temporary head.
        head_start: where the temporary head starts: random, as in the paper, or the LDA solution on the unadapted features, which
            keeps short trainings from distorting the body first (hdx's own option, after Kumar et al. 2022).
        classifier: the temporary head is linear, as in the paper, or a cosine classifier, as few-shot class-incremental methods
            train the body that their prototypes use (TEEN, Wang et al. 2023).
        scale: inverse temperature of the cosine classifier.
    """

    trains_in = "first"
    takes_targets = True
    rules = (
        only_when("head_start", classifier="linear", why="sets a linear classifier, not {classifier}"),
        only_when("scale", classifier="cosine"),
    )

    def __init__(
        self,
        parts: Parts,
        *,
        dropout: Fraction = 0.5,
        head_start: Literal["random", "lda"] = "random",
        classifier: Literal["linear", "cosine"] = "linear",
        scale: PositiveFloat = 16.0,
    ) -> None:
        super().__init__(parts)
        self.dropout, self.head_start = dropout, head_start
        self.temporary, self.scale = classifier, scale

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Session 1: the body with the temporary head, then the gradient head if there is one."""
        found = [] if session.index else [self._adaptation(session, sessions)]
        return found + self.head_phases(session.train, session.seen_classes)

    def _adaptation(self, session: Session, sessions: list[Session]) -> Phase:
        return self.adaptation_phase(session.train, session.new_classes)

    def adaptation_phase(self, indices: np.ndarray, classes: tuple[int, ...]) -> Phase:
        """The body and a temporary head over `classes`, on `indices`."""
        temporary = self._temporary(len(classes))
        phase = self.body_phase(indices, classes, temporary)
        if self.head_start == "lda":
            phase.start = partial(start_from_lda, temporary)
        return phase

    def _temporary(self, n_classes: int) -> nn.Sequential:
        if self.temporary == "linear":
            return temporary_classifier(self.body.n_features, n_classes, self.dropout)
        cosine = Cosine(self.body.n_features, scale=self.scale)
        cosine.expand(n_classes)
        return nn.Sequential(nn.Dropout(self.dropout), cosine)
