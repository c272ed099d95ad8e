"""Experience replay: new images and remembered ones train together."""

from __future__ import annotations

import numpy as np
from torch import nn

from hdx.errors import ConfigError
from hdx.memories._base import Samples
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.methods._temporary import OF_ANOTHER_HEAD, temporary_classifier
from hdx.options import Fraction
from hdx.protocols._base import Session
from hdx.rules import only_when


class ReplayMethod(Method):
    """Experience replay: the body trains on every session's own images together with those in the memory.

    Each image, new or kept, comes once an epoch; with `half` every batch is half new images, each once an epoch, and half
    draws from the memory with replacement, uniform over its images, so that few kept images weigh as much as many new ones.
    With a memory of size 0 this is `finetune`.

    With a gradient head body and head train together, over all classes seen. With a statistics head the body trains through a
    temporary head over the classes seen, and the head then learns anew, under the body as it is, from the session's images and
    the memory: a class that has neither is never predicted. Nothing is learnt anew where nothing is kept.

    Source: Chaudhry et al. 2019, "On Tiny Episodic Memories in Continual Learning" (ER: half of a batch from the memory, read in
        re-implementations; they draw without replacement); Rolnick et al. 2019, "Experience Replay for Continual Learning".
    Trains: body and head, in every session.
    Keeps: rows of the train split, within the bound of `memory`.
    Certainty: read in re-implementations.

    Args:
        half: make each batch half new and half memory.
        dropout: probability before the temporary head.
    """

    trains_in = "every"
    trains_head = True
    needs_memory = True
    uses_memory = True
    rules = (only_when("dropout", {"head.kind": ("statistics", "episode")}, why=OF_ANOTHER_HEAD, fix="take head=lda"),)

    def __init__(
        self,
        parts: Parts,
        *,
        half: bool = False,
        dropout: Fraction = 0.5,
    ) -> None:
        super().__init__(parts)
        self.halves, self.dropout = half, dropout

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for batches that have no half."""
        if self.halves and self.recipe.batch_size < 2:
            raise ConfigError(
                f"method.half=true: trainer.batch_size={self.recipe.batch_size} has no half, take trainer.batch_size=2 or more"
            )

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Body and head on the session's images and the memory's."""
        classes = session.seen_classes
        classifier: nn.Module = self.head
        if self.head.kind != "gradient":
            classes = classes if len(self.memory.rows) else session.present_classes
            classifier = temporary_classifier(self.body.n_features, len(classes), self.dropout)
        phase = self.body_phase(self.session_rows(session), classes, classifier)
        if self.halves and len(self.memory.rows):
            phase.sampler = HalfSampler(len(session.train), self.recipe.batch_size)
        return [phase]

    def memorised(self, session: Session, samples: Samples) -> None:
        """A statistics head starts over where something is kept for it."""
        self.resets_head = len(self.memory.rows) > 0

    def head_rows(self, session: Session) -> np.ndarray:
        """The session's own and the memory's, each once."""
        return np.union1d(session.train, self.memory.rows)


class HalfSampler:
    """Every batch has as many samples of the memory as of the session.

    The session's samples are the first `n_new` positions; each comes once an epoch. Those of the memory are drawn with
    replacement. A batch is in random order, so that each of several ranks has some of both.

    Args:
        n_new: samples of the session.
        batch_size: the most samples a batch may have, at least 2.
    """

    def __init__(self, n_new: int, batch_size: int) -> None:
        self.n_new, self.batch_size = n_new, batch_size

    def steps(self, labels: np.ndarray) -> int:
        """Batches of an epoch."""
        return -(-self.n_new // (self.batch_size // 2))

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions [2 b] of each batch over labels [N], all of nearly equal size."""
        parts = np.array_split(rng.permutation(self.n_new), self.steps(labels))
        draws = [rng.integers(self.n_new, len(labels), size=len(part)) for part in parts]
        return [rng.permutation(np.concatenate(pair)) for pair in zip(parts, draws)]
