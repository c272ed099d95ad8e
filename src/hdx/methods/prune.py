"""Magnitude pruning: the smallest weights of the adapted body are set to zero in rounds, each followed by fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator

from hdx.methods._base import Phase, State, Work
from hdx.methods._masks import Masks, Pruning, prunable
from hdx.methods._parts import Parts
from hdx.methods.first_session import FirstSession
from hdx.options import Fraction, OpenFraction, PositiveFloat, PositiveInt
from hdx.protocols._base import Session


class Prune(FirstSession):
    """Magnitude pruning: adapt the body on the first session, then prune and fine-tune it in rounds; it stays sparse.

    A round leaves the largest weights of all convolutions and linear layers of the backbone together, biases and norms untouched;
    the share that is left falls by the same factor each round, to 1 - `sparsity`. What is pruned is exactly zero after each step.
    Training is that of `first_session`, through a temporary head; the head of the run is then solved or trained on the features
    of the sparse body. An adapter that leaves the weights frozen tunes around them.

    Source: Han et al. 2015, "Learning both Weights and Connections for Efficient Neural Networks"; global magnitudes and the
        exact number of weights after Frankle and Carbin 2019 (open_lth), without rewinding.
    Trains: body, in the first session (a gradient head: in every one).
    Keeps: the masks.
    Certainty: read in the code of a later paper.

    Args:
        sparsity: share of the weights that are zero at the end.
        rounds: of pruning and fine-tuning.
        rate: of fine-tuning, times trainer.lr.
        epochs: of fine-tuning in each round.
        dropout: probability before the temporary head.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        sparsity: OpenFraction = 0.8,
        rounds: PositiveInt = 3,
        rate: PositiveFloat = 0.2,
        epochs: PositiveInt = 5,
        dropout: Fraction = 0.5,
    ) -> None:
        super().__init__(parts, dropout=dropout)
        self.sparsity, self.rounds = sparsity, rounds
        self.tuning = self.recipe.replace(lr=rate * self.recipe.lr, epochs=epochs)

    def phases(self, session: Session, sessions: list[Session]) -> Iterator[Phase | Work]:  # type: ignore[override]
        """Session 1: training, then rounds; then the gradient head, if there is one."""
        if session.index == 0:
            dense = self._adaptation(session, sessions)
            yield dense
            yield from self._rounds(dense)
        yield from self.head_phases(session.train, session.seen_classes)

    def _rounds(self, dense: Phase) -> Iterator[Phase | Work]:
        masks = self._masked()
        for number in range(1, self.rounds + 1):
            yield Pruning(self.body, masks, (1 - self.sparsity) ** (number / self.rounds))
            tuning = self.body_phase(dense.indices, dense.classes, dense.classifier)
            tuning.recipe, tuning.after_step = self.tuning, lambda progress: masks.apply_to(self.body)
            yield tuning

    def _masked(self) -> Masks:
        """Masks beside the body, whose weights are checkpointed from now on, frozen ones too."""
        names = prunable(self.body)
        masks = Masks(names).to(self.device)
        self.beside["masks"] = masks
        self.body.changed |= {name for name, _ in names}
        return masks

    def rebuild(self, state: State) -> None:
        """Masks where the checkpoint has them."""
        if any(name.startswith("masks.") for name in state["beside"]) and "masks" not in self.beside:
            self._masked()
