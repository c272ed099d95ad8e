"""The contract of a method that judges few-shot episodes itself, in place of the head."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from hdx.methods._base import Method


class EpisodeMethod(Method):
    """Learns from the support of each episode on its own (`trains_in = "episodes"`), from the same start.

    The engine asks for logits of many episodes of one shape, in batches of any size and on any rank: they are a function of the
    episode's own images, a seed and the episode's number, and of nothing that stands beside it.

    Attributes:
        steps: gradient steps on the support of an episode.
    """

    trains_in = "episodes"
    steps: int

    @abstractmethod
    def episodes_at_once(self, n_support: int, n_query: int, memory_bytes: int) -> int:
        """Episodes that `classify_episodes` takes within about `memory_bytes`; at least 1."""

    @abstractmethod
    def classify_episodes(self, support: Tensor, labels: Tensor, query: Tensor, ways: int, seed: int, numbers: Tensor) -> Tensor:
        """Logits [E, Q, ways] of the queries of E episodes.

        Args:
            support: [E, S, C, h, w] uint8 on the body's device; labels: [E, S] int64 in [0, ways), every class at least once.
            query: [E, Q, C, h, w] uint8.
            ways: classes of each episode.
            seed: of what is drawn.
            numbers: [E] int64, the episodes' places in the protocol's list.
        Raises: RunError naming the first episode whose training diverged.
        """

    @abstractmethod
    def classify_features(self, support: Tensor, labels: Tensor, query: Tensor, ways: int, seed: int, numbers: Tensor) -> Tensor:
        """As `classify_episodes` where the body does not train: on features support [E, S, D] and query [E, Q, D] float32."""
