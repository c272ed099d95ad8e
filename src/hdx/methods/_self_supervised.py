"""Methods that train the body on the first session's images without their labels, from two views of each."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from hdx.augments._named import Augment
from hdx.errors import ConfigError
from hdx.methods._base import Batch, Method, Phase
from hdx.methods._parts import Parts
from hdx.protocols._base import Session


class SelfSupervised(Method):
    """The body trains with a projector in the first session and is then frozen; the projector is thrown away.

    Labels have no say in the body; rows whose labels are hidden train along. The head is then solved, or trained by gradient, on
    features of the frozen body. `augment` makes the views, of which the first
    two are compared; one of a single view, as the list `trainer.augment` is, is looked through twice.

    Args:
        hidden, out: widths of the projector's hidden layer and of the embeddings.
    """

    trains_in = "first"
    sees = "several"

    def __init__(self, parts: Parts, *, hidden: int, out: int) -> None:
        super().__init__(parts)
        self.hidden, self.out = hidden, out

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError without augmentation: both views would be the same, and the task solved before it begins."""
        if not self.recipe.augment and not self.parts.augment.views(1):
            raise ConfigError(
                f"method={self.name} compares two views of an image, and with augment=none they are the same: take augment=simclr"
            )

    @property
    def name(self) -> str:
        """As configs say it."""
        return type(self).__name__.lower()

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Session 1: the body on two views; then the gradient head, if there is one, on the features."""
        return ([] if session.index else [self.views_phase(session)]) + self.head_phases(session.train, session.seen_classes)

    def views_phase(self, session: Session) -> Phase:
        """The body and what `make_projector` gives, on all images of the session."""
        hidden = session.unlabelled if session.unlabelled is not None else np.zeros(0, np.int64)
        phase = self.body_phase(np.concatenate([session.train, hidden]), session.new_classes, self.make_projector())
        size = self.body.transform.resize_to
        found = (Augment(self.recipe.augment, size),) if self.recipe.augment else self.parts.augment.views(size)
        phase.views = found if len(found) > 1 else found * 2
        return phase

    def make_projector(self) -> nn.Module:
        """What trains with the body: features [B, D] to embeddings [B, out]."""
        return projector(self.body.n_features, self.hidden, self.out)

    def both(self, batch: Batch, embed: nn.Module) -> tuple[Tensor, Tensor]:
        """Embeddings [B, out] of the two views, in one pass: a batch norm sees them together."""
        one, other = batch.views[:2]
        found = embed(torch.cat([one.inputs, other.inputs]))
        return found[: len(one.inputs)], found[len(one.inputs) :]


def projector(n_features: int, hidden: int, out: int) -> nn.Sequential:
    """Linear, batch norm, ReLU, linear."""
    return nn.Sequential(nn.Linear(n_features, hidden, bias=False), nn.BatchNorm1d(hidden), nn.ReLU(), nn.Linear(hidden, out))
