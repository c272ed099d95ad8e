"""Prototypical networks: the body trains on few-shot episodes."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hdx.methods._base import Batch, Method, Phase
from hdx.methods._gather import gather
from hdx.methods._parts import Parts
from hdx.methods._samplers import EpisodeSampler
from hdx.options import PositiveFloat, PositiveInt
from hdx.protocols._base import Session


class Prototypical(Method):
    """Prototypical networks: train the body on episodes of the first session's classes, then freeze it.

    A step is one episode: the queries are classified by a softmax over -||q - c||^2 to the class means c of the support, so no
    classifier is trained, and head=ncm scores what was trained. trainer.epochs * episodes_per_epoch episodes are seen and
    trainer.batch_size is not used (a step has ways * (shots + queries) images). Under several ranks each embeds its share of
    the episode and the loss is that of the whole episode; only batch statistics are of a rank's own share.

    Source: Snell, Swersky and Zemel 2017, "Prototypical Networks for Few-shot Learning" (60-way, 5 queries for omniglot); the
        cosine with a temperature is a common variant and not theirs.

    Args:
        ways: classes of a training episode; more than at evaluation helps.
        shots: support images of a class.
        queries: query images of a class.
        episodes_per_epoch: episodes that make an epoch.
        distance: squared euclidean distance, or cosine of embeddings normalised before and after averaging (head=ncm_cosine).
        scale: the logits are this times the negative distance or the cosine; null takes 1 for euclidean and 10 for cosine.
    """

    trains_in = "first"

    def __init__(
        self,
        parts: Parts,
        *,
        ways: PositiveInt = 60,
        shots: PositiveInt = 1,
        queries: PositiveInt = 5,
        episodes_per_epoch: PositiveInt = 100,
        distance: Literal["euclidean", "cosine"] = "euclidean",
        scale: PositiveFloat | None = None,
    ) -> None:
        super().__init__(parts)
        self.sampler = EpisodeSampler(ways, shots, queries, episodes_per_epoch)
        self.distance = distance
        self.scale = scale if scale is not None else {"euclidean": 1.0, "cosine": 10.0}[distance]

    def check(self, labels: np.ndarray, sessions: list[Session]) -> None:
        """Raises: ConfigError when the first session has too few classes, or too few images of one."""
        first = sessions[0]
        counts = np.bincount(labels[first.train], minlength=max(first.new_classes) + 1)
        self.sampler.require(counts[list(first.new_classes)])

    def phases(self, session: Session, sessions: list[Session]) -> list[Phase]:
        """Session 1: the body on episodes; then the gradient head, if there is one."""
        return ([] if session.index else [self._episodes(session)]) + self.head_phases(session.train, session.seen_classes)

    def _episodes(self, session: Session) -> Phase:
        trains = list(self.body.trainable)
        return Phase("images", session.train, session.new_classes, nn.Identity(), trains, sampler=self.sampler)

    def training_step(self, batch: Batch, step: int) -> Tensor:
        """Mean loss of one episode's queries, of this rank's images; which class is which is their order."""
        assert self.current is not None
        if self.current.sampler is not self.sampler:
            return super().training_step(batch, step)
        n_images = self.sampler.ways * (self.sampler.shots + self.sampler.queries)
        features = gather(self.body(batch.inputs), n_images)  # [ways * (shots + queries), D]
        with torch.autocast(features.device.type, enabled=False):
            logits = episode_logits(features.float(), self.sampler.ways, self.sampler.shots, self.distance)
            targets = torch.arange(self.sampler.ways, device=logits.device).repeat_interleave(self.sampler.queries)
            return self.loss(self.scale * logits, targets).mean() + self.penalty()


def episode_logits(features: Tensor, ways: int, shots: int, distance: str) -> Tensor:
    """Logits [ways * queries, ways] of an episode's queries, class-major (Snell et al. 2017, eq. 2).

    Args:
        features: [ways * (shots + queries), D], class-major, each class's support first.
        ways, shots: of the episode.
        distance: "euclidean": -||q - c||^2 to the class means c; "cosine": cosines, normalised before and after averaging.
    """
    cosine = distance == "cosine"
    by_class = (F.normalize(features, dim=1) if cosine else features).view(ways, -1, features.shape[1])
    prototypes, query = by_class[:, :shots].mean(1), by_class[:, shots:].flatten(0, 1)  # [W, D], [W * Q, D]
    if cosine:
        return query @ F.normalize(prototypes, dim=1).T
    centre = prototypes.mean(0).detach()  # distances do not depend on it, the digits of the products below do
    query, prototypes = query - centre, prototypes - centre
    distances = query.square().sum(1, keepdim=True) - 2 * query @ prototypes.T + prototypes.square().sum(1)
    return -distances
