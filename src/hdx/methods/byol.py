"""BYOL: the body predicts what a slow average of itself says of another view."""

from __future__ import annotations

from torch import Tensor, nn

from hdx.losses._contrastive import cosine_distance
from hdx.methods._base import Batch, Phase
from hdx.methods._ema import Ema
from hdx.methods._parts import Parts
from hdx.methods._self_supervised import SelfSupervised, projector
from hdx.options import Fraction, PositiveInt
from hdx.protocols._base import Session


class BYOL(SelfSupervised):
    """BYOL: from one view of an image predict the target network's embedding of the other; no labels and no negatives.

    The online network is body, projector and predictor; the target is an average of body and projector that follows after each
    step, its momentum rising from `momentum` to 1 along a cosine. The loss is 2 - 2 cos, in both directions, no gradient flowing
    into the target. The body is adapted on the first session and frozen; the head is solved or trained on its features. What
    differs from the authors' setting: the run's optimiser in place of LARS, and the augmentations of `trainer.augment`.

    Source: Grill et al. 2020, "Bootstrap your own latent", eq. 2 and section 3.3; a re-implementation (lucidrains/byol-pytorch).
    Trains: body, in the first session, without labels (a gradient head: in every one).
    Keeps: nothing.
    Certainty: read in a re-implementation.

    Args:
        momentum: of the target at the start; the paper's 0.996 is for 300,000 steps, short trainings need a faster target.
        hidden: width of the hidden layers of projector and predictor.
        out: length of an embedding.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        momentum: Fraction = 0.99,
        hidden: PositiveInt = 256,
        out: PositiveInt = 64,
    ) -> None:
        super().__init__(parts, hidden=hidden, out=out)
        self.momentum = momentum

    def views_phase(self, session: Session) -> Phase:
        """As ever, with the target beside."""
        phase = super().views_phase(session)
        online = self._online(phase.classifier)
        target = Ema(online, self.momentum, rises=True)
        self.beside["target"] = target
        phase.after_step = lambda progress: target.follow(online, progress)
        phase.finish = lambda: self.beside.__delitem__("target")
        return phase

    def make_projector(self) -> nn.Module:
        """Projector and predictor."""
        return nn.Sequential(super().make_projector(), projector(self.out, self.hidden, self.out))

    def _online(self, classifier: nn.Module) -> nn.Sequential:
        """Body and projector, without the predictor."""
        assert isinstance(classifier, nn.Sequential)
        return nn.Sequential(self.body, classifier[0])

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert self.classifier is not None
        one, other = self.both(batch, nn.Sequential(self.body, self.classifier))
        of_one, of_other = self.both(batch, self.beside["target"])
        return (cosine_distance(one, of_other) + cosine_distance(other, of_one)).sum() * batch.weight
