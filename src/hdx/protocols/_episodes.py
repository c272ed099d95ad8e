"""Draws episodes, vectorised over them: classes, shots and queries of each, and which images those are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hdx.protocols._base import Episodes
from hdx.protocols._draws import dirichlet_counts, flat, outside, shuffled, subsets
from hdx.seeds import stream

FEWEST_WAYS, MOST_WAYS = 5, 50  # of variable ways
CLASS_LIMIT, SUPPORT_LIMIT = 100, 500  # of variable shots: what a class may add to the support's size, and its largest size
BLOCK_ROWS = 2**14  # rows (one class of one episode each) that are drawn at a time


class ClassRows:
    """The rows of each of some classes.

    Args:
        labels: [N] of all rows.
        classes: [C] distinct labels.
        rows: which rows there are; None takes all N.

    Attributes:
        sizes: [C] rows of each class.
    """

    def __init__(self, labels: np.ndarray, classes: np.ndarray, rows: np.ndarray | None = None) -> None:
        rows = np.arange(len(labels)) if rows is None else rows
        order = rows[np.argsort(labels[rows], kind="stable")]
        self.starts = np.searchsorted(labels[order], classes, side="left")
        self.sizes = np.searchsorted(labels[order], classes, side="right") - self.starts
        self.rows = order

    def pick(self, positions: np.ndarray, counts: np.ndarray, picked: np.ndarray) -> np.ndarray:
        """Rows, one after the other, of the `picked` [K, R] images (`counts` [R] of each) of the classes at `positions` [R]."""
        return self.rows[np.repeat(self.starts[positions], counts) + flat(picked)]


@dataclass(frozen=True)
class Source:
    """What episodes are drawn from.

    Attributes:
        classes: [C] dataset labels.
        groups: positions in `classes`, of each group that all classes of an episode come from; taken in turn.
        support, query: where images come from; one and the same object means from one pool, without overlap.
    """

    classes: np.ndarray
    groups: list[np.ndarray]
    support: ClassRows
    query: ClassRows

    @property
    def shared(self) -> bool:
        """Whether support and queries come from one pool."""
        return self.support is self.query


@dataclass(frozen=True)
class Shape:
    """The shape of episodes; None draws it by Meta-Dataset's rule.

    Attributes:
        ways, shots: classes, and support images of each.
        queries: of each class; with variable shots at most that many.
        dirichlet: concentration by which the classes share all queries; None shares them equally.
    """

    ways: int | None
    shots: int | None
    queries: int
    dirichlet: float | None = None


@dataclass(frozen=True)
class _Drawn:
    """Episodes one after the other: their ways, support and query sizes [E], then all classes, rows and labels in one row."""

    sizes: np.ndarray  # [E, 3]
    classes: np.ndarray
    support: np.ndarray
    support_labels: np.ndarray
    query: np.ndarray
    query_labels: np.ndarray


def draw_episodes(source: Source, shape: Shape, n_episodes: int, seed: int) -> list[Episodes]:
    """`n_episodes` episodes, those of one shape together; every class and image of a pool is equally likely.

    Episodes are drawn in blocks, each from streams of its own, and a block is always drawn whole: the first 100 of 1,000
    are the list of 100. Classes, support and queries have streams of their own: the classes do not depend on the shots, nor,
    with fixed shots, the support on the queries.

    Variable ways and shots (Triantafillou et al. 2020, section 3.2): ways uniform in 5 … min(50, classes); queries a class
    min(`queries`, half of the smallest class); support size min(500, sum over classes of ceil(b * min(100, images left))) with b
    uniform in (0, 1]; a class's shots min(floor(R * (support size - ways)) + 1, images left), where R is proportional to
    exp(a) times its images, a uniform in [log 0.5, log 2). Where queries come from a pool of their own, all of the support's
    images are left, and the smallest class bounds the queries whole.
    """
    size = max(1, min(1000, BLOCK_ROWS // (shape.ways or MOST_WAYS)))
    blocks = [_block(source, shape, number, size, seed) for number in range(-(-n_episodes // size))]
    drawn = _Drawn(*(np.concatenate([getattr(block, name) for block in blocks]) for name in _Drawn.__dataclass_fields__))
    return list(_buckets(drawn, n_episodes))


def _block(source: Source, shape: Shape, number: int, size: int, seed: int) -> _Drawn:
    rng = {name: stream(seed, "episodes", name, number) for name in ("classes", "shots", "support", "query")}
    ways, positions = _classes(source, shape, np.arange(number * size, (number + 1) * size), seed, rng["classes"])
    starts = np.cumsum(ways) - ways  # of an episode's rows; a row is one class of it
    episode = np.repeat(np.arange(size), ways)
    slot = np.arange(len(episode)) - starts[episode]
    images, queries = source.support.sizes[positions], source.query.sizes[positions]
    if shape.shots is None:
        each, shots = _variable(source.shared, shape.queries, ways, images, queries, rng["shots"])
    else:
        each, shots = np.full(size, shape.queries), np.full(len(episode), shape.shots)
    left = queries - shots if source.shared else queries
    counts = each[episode]
    if shape.dirichlet is not None:
        room = np.zeros((size, ways.max()), np.int64)
        room[episode, slot] = left
        counts = dirichlet_counts(each * ways, room, shape.dirichlet, rng["shots"])[episode, slot]
    support = subsets(images, shots, rng["support"])
    query = subsets(left, counts, rng["query"])
    if source.shared:
        query = outside(support, query)
    return _Drawn(
        np.stack([ways, np.add.reduceat(shots, starts), np.add.reduceat(counts, starts)], 1),
        source.classes[positions],
        source.support.pick(positions, shots, support),
        np.repeat(slot, shots),
        source.query.pick(positions, counts, query),
        np.repeat(slot, counts),
    )


def _classes(
    source: Source, shape: Shape, numbers: np.ndarray, seed: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Ways [E] of the episodes, and the positions of their classes one after the other, each episode's in random order."""
    sizes = np.array([len(group) for group in source.groups])
    turns = stream(seed, "episodes", "groups").permutation(len(sizes))
    group = turns[numbers % len(sizes)]
    if shape.ways is None:
        most = np.minimum(MOST_WAYS, sizes[group])
        ways = FEWEST_WAYS + (rng.random(len(numbers)) * (most - FEWEST_WAYS + 1)).astype(np.int64)
    else:
        ways = np.full(len(numbers), shape.ways)
    picked = flat(shuffled(subsets(sizes[group], ways, rng), rng))
    return ways, np.concatenate(source.groups)[np.repeat((np.cumsum(sizes) - sizes)[group], ways) + picked]


def _variable(
    shared: bool, most: int, ways: np.ndarray, images: np.ndarray, queries: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Queries a class of each episode [E], and shots of each of its classes [R]; see `draw_episodes`."""
    starts = np.cumsum(ways) - ways
    episode = np.repeat(np.arange(len(ways)), ways)
    smallest = np.minimum.reduceat(queries, starts)
    each = np.minimum(most, smallest // 2 if shared else smallest)
    left = images - each[episode] if shared else images
    share_of = 1 - rng.random(len(ways))  # in (0, 1]
    size = np.add.reduceat(np.ceil(share_of[episode] * np.minimum(CLASS_LIMIT, left)), starts)
    size = np.maximum(np.minimum(size, SUPPORT_LIMIT), ways)
    weight = np.exp(rng.uniform(np.log(0.5), np.log(2), len(episode))) * images
    weight /= np.add.reduceat(weight, starts)[episode]
    return each, np.minimum(np.floor(weight * (size - ways)[episode]).astype(np.int64) + 1, left)


def _buckets(drawn: _Drawn, n_episodes: int) -> Iterator[Episodes]:
    """The first `n_episodes`, those of one shape together, in the order in which the shapes come up."""
    starts = np.cumsum(drawn.sizes, 0) - drawn.sizes
    shapes, first, which = np.unique(drawn.sizes[:n_episodes], axis=0, return_index=True, return_inverse=True)
    for shape in np.argsort(first):
        number = np.flatnonzero(which.reshape(-1) == shape)  # numpy 2.0 gives it another shape
        ways, support, query = shapes[shape].tolist()
        yield Episodes(
            number=number,
            classes=_cut(drawn.classes, starts[number, 0], ways),
            support=_cut(drawn.support, starts[number, 1], support),
            support_labels=_cut(drawn.support_labels, starts[number, 1], support),
            query=_cut(drawn.query, starts[number, 2], query),
            query_labels=_cut(drawn.query_labels, starts[number, 2], query),
        )


def _cut(values: np.ndarray, starts: np.ndarray, width: int) -> np.ndarray:
    """[len(starts), width]: the values that begin at each of `starts`."""
    if (np.diff(starts) == width).all():
        return values[starts[0] : starts[0] + len(starts) * width].reshape(len(starts), width)
    return values[starts[:, None] + np.arange(width)]
