"""Many small random subsets at once: for each of R rows a few of its own number of things, all subsets equally likely."""

from __future__ import annotations

import numpy as np

NOTHING = np.iinfo(np.int32).max


def subsets(sizes: np.ndarray, counts: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each row r a uniform subset of `counts[r]` of 0 … sizes[r] - 1 (Floyd's algorithm, one step for all rows at a time).

    Args:
        sizes: [R] int64.
        counts: [R] int64, none larger than its size.

    Returns: [max(counts), R] int32, `NOTHING` below the last of a row. The order in a row is not random.
    """
    picked = np.full((int(counts.max(initial=0)), len(sizes)), NOTHING, np.int32)
    order = np.argsort(-counts, kind="stable")  # the rows that still draw come first
    bounds = (sizes - counts).astype(np.int32)[order]
    active = np.searchsorted(-counts[order], -np.arange(len(picked)), side="left")
    for step, n in enumerate(active):
        last = bounds[:n] + step
        draw = (rng.random(n) * (last + 1)).astype(np.int32)  # below last + 1 whatever the rounding
        taken = (picked[:step, :n] == draw).any(0)
        picked[step, :n] = np.where(taken, last, draw)
    if (np.diff(order) == 1).all():
        return picked
    found = np.empty_like(picked)
    found[:, order] = picked
    return found


def outside(picked: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The things with `ranks` [Q, R] (`NOTHING` stays) among those of each row that are not in `picked` [K, R]; [Q, R]."""
    found = ranks.copy()
    for column in np.sort(picked, axis=0):
        found += (found >= column) & (found != NOTHING)
    return found


def shuffled(picked: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`picked` [K, R] with every row's entries in random order, `NOTHING` still below them."""
    keys = rng.random(picked.shape)
    keys[picked == NOTHING] = 2.0
    return np.take_along_axis(picked, np.argsort(keys, axis=0), axis=0)


def flat(picked: np.ndarray) -> np.ndarray:
    """The entries row after row, without `NOTHING`: [sum of counts] int64."""
    rows = np.ascontiguousarray(picked.T).ravel()
    return rows[rows != NOTHING].astype(np.int64) if (picked == NOTHING).any() else rows.astype(np.int64)


def dirichlet_counts(totals: np.ndarray, room: np.ndarray, concentration: float, rng: np.random.Generator) -> np.ndarray:
    """Share `totals[e]` things among W classes by proportions from a symmetric Dirichlet, no class getting more than its room.

    Rounded by largest remainders; what does not fit into a class goes to the others by their proportions.

    Args:
        totals: [E] int64, at most the sum of the room.
        room: [E, W] int64; 0 where an episode has fewer classes.

    Returns: [E, W] int64 that sum to `totals`.
    """
    weights = rng.dirichlet(np.full(room.shape[1], concentration), len(room)) + 1e-12
    counts = np.zeros_like(room)
    while (left := totals - counts.sum(1)).any():  # every round fills a class of each unfinished episode: at most W rounds
        open_ = np.where(counts < room, weights, 0.0)
        shares = open_ / np.maximum(open_.sum(1, keepdims=True), 1e-300) * left[:, None]
        counts = np.minimum(counts + _rounded(shares, left), room)
    return counts


def _rounded(shares: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Integers [E, W] that sum to `totals` [E]: the shares' floors, and one more for the largest remainders."""
    whole = np.floor(shares).astype(np.int64)
    remainder = np.where(shares > 0, shares - whole, -1.0)  # a closed class gets none
    rank = np.argsort(np.argsort(-remainder, axis=1, kind="stable"), axis=1, kind="stable")
    return whole + (rank < (totals - whole.sum(1))[:, None])
