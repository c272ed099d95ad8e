"""Which samples make a batch: episodes of a few classes, the same number of images of each class, halves with and without label.

An epoch is drawn at once, vectorised over its batches, from one generator: a pure function of labels and generator.
"""

from __future__ import annotations

import numpy as np

from hdx.errors import ConfigError


class EpisodeSampler:
    """Every batch is one episode: `ways` classes, and of each `shots` + `queries` images, class after class.

    Classes are drawn without replacement in an episode and images without replacement in a class; a class's first `shots`
    images are its support.

    Args:
        ways, shots, queries: of an episode.
        episodes: of an epoch.
    """

    def __init__(self, ways: int, shots: int, queries: int, episodes: int) -> None:
        self.ways, self.shots, self.queries, self.episodes = ways, shots, queries, episodes

    def steps(self, labels: np.ndarray) -> int:
        """`episodes`. Raises: ConfigError with the numbers when classes or images of labels [N] do not suffice."""
        _, counts = np.unique(labels, return_counts=True)
        self.require(counts)
        return self.episodes

    def require(self, counts: np.ndarray) -> None:
        """Raises: ConfigError with the numbers unless there are enough classes, and each of `counts` [C] images is enough."""
        if len(counts) < self.ways:
            raise ConfigError(
                f"method.ways={self.ways}: episodes are drawn from the {len(counts)} classes of the first session. "
                f"Use method.ways={len(counts)} or fewer, or a first session of more classes"
            )
        wanted, few = self.shots + self.queries, int((counts < self.shots + self.queries).sum())
        if few:
            raise ConfigError(
                f"method.shots={self.shots} and method.queries={self.queries} take {wanted} images of a class: {few} of "
                f"{len(counts)} classes have fewer (the smallest has {int(counts.min())}). Use fewer shots or queries"
            )

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions [ways * (shots + queries)] of each episode, class-major."""
        return _class_major(labels, rng, self.steps(labels), self.ways, self.shots + self.queries)


class BalancedSampler:
    """Every batch has `per_class` images of each of batch_size // per_class classes, or of all where there are fewer.

    Classes are drawn without replacement in a batch. So are the images of a class that has enough; of another one an image
    comes at most one time more than any other. An epoch has as many images as the samples, up to the last batch.

    Args:
        batch_size: the most images a batch may have.
        per_class: images of a class.
    """

    def __init__(self, batch_size: int, per_class: int) -> None:
        self.batch_size, self.per_class = batch_size, per_class

    def steps(self, labels: np.ndarray) -> int:
        """Batches of an epoch over labels [N]."""
        return -(-len(labels) // (self._ways(labels) * self.per_class))

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions of each batch, class-major."""
        return _class_major(labels, rng, self.steps(labels), self._ways(labels), self.per_class)

    def _ways(self, labels: np.ndarray) -> int:
        return min(len(np.unique(labels)), self.batch_size // self.per_class)


class LabelledSampler:
    """Every batch is half labelled samples and half others.

    The labelled samples are the first `n_labelled` positions. Each of the others comes once an epoch; the labelled ones come
    round in permutations of all of them, so that each comes as often as any other, or once more. A batch is in random order, so
    that each of several ranks has some of both. Where there are more labelled samples than others, these come round instead.

    Args:
        n_labelled: samples with a label.
        batch_size: the most samples a batch may have, at least 2.
    """

    def __init__(self, n_labelled: int, batch_size: int) -> None:
        self.n_labelled, self.batch_size = n_labelled, batch_size

    def steps(self, labels: np.ndarray) -> int:
        """Batches of an epoch over labels [N]."""
        return -(-max(self.n_labelled, len(labels) - self.n_labelled) // (self.batch_size // 2))

    def epoch(self, labels: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
        """Positions [2 b] of each batch, all of nearly equal size."""
        n_others, steps = len(labels) - self.n_labelled, self.steps(labels)
        n = max(self.n_labelled, n_others)
        labelled, others = _rounds(rng, self.n_labelled, n), self.n_labelled + _rounds(rng, n_others, n)
        parts = zip(np.array_split(labelled, steps), np.array_split(others, steps))
        return [rng.permutation(np.concatenate(pair)) for pair in parts]


def _rounds(rng: np.random.Generator, n: int, length: int) -> np.ndarray:
    """[length] numbers below n: one permutation after the other."""
    return np.concatenate([rng.permutation(n) for _ in range(-(-length // n))])[:length]


def _class_major(labels: np.ndarray, rng: np.random.Generator, n_batches: int, ways: int, n_images: int) -> list[np.ndarray]:
    """Batches of `ways` distinct classes and `n_images` images of each."""
    by_class = np.argsort(labels, kind="stable")
    _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
    chosen = distinct(rng, np.full(n_batches, len(counts)), ways).ravel()  # [batches * ways]
    n = counts[chosen]
    copies = -(-n_images // n)  # 1 where the class has enough images
    drawn = distinct(rng, n * copies, n_images) % n[:, None]  # [batches * ways, images]
    return list(by_class[starts[chosen][:, None] + drawn].reshape(n_batches, ways * n_images))


def distinct(rng: np.random.Generator, n: np.ndarray, k: int) -> np.ndarray:
    """[M, k] numbers, those of row i distinct, in random order and uniform over range(n[i]).

    The j-th number is drawn among the n - j that are left and then moved past those taken, in ascending order: memory does not
    grow with n, unlike with a permutation of each row.

    Args:
        rng: drawn from k times.
        n: [M] int64, each at least k.
    """
    found = np.empty((len(n), k), dtype=np.int64)
    for j in range(k):
        draw = rng.integers(0, n - j)  # [M]
        for taken in np.sort(found[:, :j], axis=1).T:
            draw += draw >= taken
        found[:, j] = draw
    return found
