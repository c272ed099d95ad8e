"""SimCLR: the body learns which two views are of the same image."""

from __future__ import annotations

from torch import Tensor, nn

from hdx.losses._contrastive import nt_xent
from hdx.methods._base import Batch
from hdx.methods._parts import Parts
from hdx.methods._self_supervised import SelfSupervised
from hdx.options import PositiveFloat, PositiveInt


class SimCLR(SelfSupervised):
    """SimCLR: two views of an image attract, those of all other images of the batch repel; no labels.

    The loss is the cross-entropy of a view's partner among the 2B - 1 other views by cosine similarity over `temperature`,
    averaged over both directions. The body is adapted on the first session and frozen; the head is solved or trained on its
    features. Under several ranks the other images are those of a rank's own share. What differs from the authors' setting: the
    run's optimiser in place of LARS, a projector of two layers, and the augmentations of `trainer.augment`.

    Source: Chen et al. 2020, "A Simple Framework for Contrastive Learning of Visual Representations", eq. 1; objective.py of the
        authors' code.
    Trains: body, in the first session, without labels (a gradient head: in every one).
    Keeps: nothing.
    Certainty: read in the authors' code.

    Args:
        temperature: of the similarities; the paper's best on CIFAR-10.
        hidden: width of the projector's hidden layer.
        out: length of an embedding.
    """

    def __init__(
        self,
        parts: Parts,
        *,
        temperature: PositiveFloat = 0.5,
        hidden: PositiveInt = 256,
        out: PositiveInt = 128,
    ) -> None:
        super().__init__(parts, hidden=hidden, out=out)
        self.temperature = temperature

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Loss of one batch of this rank."""
        assert self.classifier is not None
        one, other = self.both(batch, nn.Sequential(self.body, self.classifier))
        return nt_xent(one, other, self.temperature).sum() * batch.weight
