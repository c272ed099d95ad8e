"""LP-FT: the head is trained on the frozen body first, then both together at a smaller rate."""

from __future__ import annotations

from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.methods._phase import Group
from hdx.options import NonNegativeFloat, PositiveFloat, PositiveInt
from hdx.protocols._base import Session


class LpFt(Method):
    """Linear probing, then fine-tuning: a head that fits the body keeps the first steps from distorting the features.

    Stage one trains the head on cached features, by the trainer's recipe (`trainer.feature_epochs`). Stage two trains body and
    head on images by a recipe of its own: the trainer's with a rate and a number of epochs of this method. Both in every session.

    Source: Kumar et al. 2022, "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution", section 4
        (rates of both stages are tuned there).
    Trains: head, then body and head, in every session.
    Keeps: nothing.
    Certainty: by definition.

    Args:
        rate: of the second stage, times trainer.lr.
        epochs: of the second stage; None: trainer.epochs.
        head_scale: the head's rate in the second stage, times the body's.
    """

    trains_in = "every"
    trains_head = True
    heads = ("gradient",)

    def __init__(
        self,
        parts: Parts,
        *,
        rate: PositiveFloat = 0.1,
        epochs: PositiveInt | None = None,
        head_scale: NonNegativeFloat = 1.0,
    ) -> None:
        super().__init__(parts)
        self.rate, self.head_scale = rate, head_scale
        self.second = self.recipe.replace(lr=rate * self.recipe.lr, epochs=self.recipe.epochs if epochs is None else epochs)

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """The head on features, then body and head on images."""
        probing = Phase("features", session.train, session.seen_classes, self.head, list(self.head.parameters()))
        if not self.body.trainable:
            return [probing]
        tuning = self.body_phase(session.train, session.seen_classes, self.head)
        tuning.recipe = self.second
        tuning.groups = () if self.head_scale == 1 else (Group(self.head.parameters(), scale=self.head_scale),)
        return [probing, tuning]
