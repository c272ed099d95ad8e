"""Normalised softmax: the body trains as a classifier whose features and weights lie on a hypersphere."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.errors import ConfigError
from hdx.heads.imprinted import Imprinted, on_sphere
from hdx.methods._base import Method, Phase
from hdx.methods._parts import Parts
from hdx.methods._samplers import BalancedSampler
from hdx.options import NonNegativeInt, PositiveFloat
from hdx.protocols._base import Session
from hdx.rules import same

HOPELESS = 0.5  # largest probability of the right class under which a scale is refused


class NormSoftmax(Method):
    """Normalised softmax: train the body on the first session with a cosine classifier, then freeze it.

    Cross-entropy of s * cos(x, w_c), without bias; no weight decay acts on w. With head=imprinted the first session's classes
    keep the trained w and new classes are imprinted without retraining; another head sees only the trained body.

    Source: Zhai and Wu 2019, "Classification is a Strong Baseline for Deep Metric Learning": scale 20, layer norm and balanced
        batches read in the authors' code (their balanced batches draw images with replacement, here without where there are
        enough); Pereira et al. 2021, "Hyperspherical embedding for novel class classification": abstract read, formula from
        memory. The bound on the scale is the simplex bound of Wang et al. 2017, NormFace.

    Args:
        scale: s, the inverse temperature; refused where no body could give the right class of C a probability of 1/2.
        layer_norm: centre each feature vector on its own mean before it is normalised (layer norm without affine), as Zhai and
            Wu do; head=imprinted must do the same.
        per_class: images of a class in a batch of trainer.batch_size images; 0 shuffles plainly.
    """

    trains_in = "first"
    rules = (same("layer_norm", "head.layer_norm", say="{layer_norm} trains another embedding than {head.layer_norm} scores"),)

    def __init__(
        self,
        parts: Parts,
        *,
        scale: PositiveFloat = 20.0,
        layer_norm: bool = True,
        per_class: NonNegativeInt = 0,
    ) -> None:
        super().__init__(parts)
        self.scale, self.layer_norm, self.per_class = scale, layer_norm, per_class

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError for one class, a scale too small for the classes, or batches of fewer than two classes."""
        n_classes, batch_size = len(sessions[0].new_classes), self.recipe.batch_size
        if n_classes < 2:
            raise ConfigError(f"method=normsoftmax tells classes apart, and the first session has {n_classes}: give it 2 or more")
        if (reached := reachable(self.scale, n_classes)) < HOPELESS:
            raise ConfigError(
                f"method.scale={self.scale:g}: the right one of {n_classes} classes would get a probability of at most "
                f"{reached:.2g}. Use method.scale={math.ceil(math.log(n_classes - 1) + 5)} or more"
            )
        if self.per_class and batch_size // self.per_class < 2:
            raise ConfigError(
                f"method.per_class={self.per_class}: a batch of trainer.batch_size={batch_size} images would have fewer than "
                f"two classes. Use method.per_class={batch_size // 2} or less, or a larger batch"
            )

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Session 1: body and cosine classifier; then the gradient head, if there is one."""
        return ([] if session.index else [self._classification(session)]) + self.head_phases(session.train, session.seen_classes)

    def _classification(self, session: Session) -> Phase:
        classifier = SphereClassifier(self.body.n_features, len(session.new_classes), self.scale, self.layer_norm)
        phase = self.body_phase(session.train, session.new_classes, classifier)
        if self.per_class:
            phase.sampler = BalancedSampler(self.recipe.batch_size, self.per_class)
        if isinstance(self.head, Imprinted):
            phase.finish = partial(self.head.take_base, classifier.weight)
        return phase

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The recipe's optimiser, without weight decay on the cosine classifier: only the direction of a weight counts."""
        assert self.current is not None
        spared = list(self.classifier.parameters()) if isinstance(self.classifier, SphereClassifier) else []
        return self.recipe.build_optimizer(self.current.parameters, no_decay=spared)


class SphereClassifier(nn.Module):
    """scale * cos(x, w_c) in float32, whatever the precision of the run; weights start as in `nn.Linear`.

    Args:
        n_features, n_classes: D, C.
        scale, layer_norm: see `NormSoftmax`.
    """

    def __init__(self, n_features: int, n_classes: int, scale: float, layer_norm: bool) -> None:
        super().__init__()
        bound = 1 / math.sqrt(n_features)
        self.weight = nn.Parameter(torch.empty(n_classes, n_features).uniform_(-bound, bound))
        self.scale, self.layer_norm = scale, layer_norm

    def forward(self, features: Tensor) -> Tensor:
        """Logits [B, C] of features [B, D]."""
        with torch.autocast(features.device.type, enabled=False):
            x = on_sphere(features.to(self.weight.dtype), self.layer_norm)  # [B, D]
            return self.scale * (x @ F.normalize(self.weight, dim=1).T)


def reachable(scale: float, n_classes: int) -> float:
    """Largest mean probability of the right class: C weights at equal angles, cos = -1/(C - 1), each sample on its own."""
    others = n_classes - 1
    return 1 / (1 + others * math.exp(-scale * n_classes / others))
