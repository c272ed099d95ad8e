"""Replay: a bounded memory of training samples, chosen by herding, at random or as a reservoir."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from torch import Tensor

from hdx.memories._base import Memory, Samples
from hdx.memories._herding import herd
from hdx.options import NonNegativeInt, PositiveInt
from hdx.protocols._base import Session
from hdx.rules import one_of, only_when
from hdx.seeds import stream

LAST = np.iinfo(np.int64).max


class Replay(Memory):
    """Replay memory: rows of training samples that later sessions see again, within a bound on images or bytes.

    The classes seen share the room: of `size` images and C classes each gets size // C, and the first size % C to arrive one
    more; so room for fewer images than classes goes to the first ones, and a class of fewer images leaves its room empty.
    Classes without new images only give images up, the last chosen first. A class that is seen again chooses among what it
    has kept and its new images; an image that is kept already counts once. A size of 0 keeps nothing.

    Source: Rebuffi et al. 2017, "iCaRL" (herding, equal shares; read in the authors' code); Vitter 1985, "Random Sampling with
        a Reservoir" (the same sample, drawn by keys; from memory).

    Args:
        size: images in all; null where `per_class` or `bytes` is given.
        per_class: images of each class, however many classes there are; null for a bound in all.
        bytes: of the images kept, as stored (uint8), in all; the rows themselves, 8 bytes an image, are not counted.
        choice: herding takes the images whose mean feature is nearest to that of the class, on the unit sphere and under the
            body at the end of the session; random draws among a class's candidates; reservoir keeps a uniform sample of all
            images ever seen.
        balanced: classes share the room; false makes the reservoir one of the whole stream.
    """

    rules = (
        one_of("size", "per_class", "bytes", say="is bounded by one of size, per_class and bytes"),
        only_when("balanced", choice="reservoir", why="is for memory.choice=reservoir, not {choice}"),
        only_when(
            "balanced",
            per_class=None,
            why="leaves shares to chance, and {per_class} sets them",
            fix="take memory.size or memory.bytes",
        ),
    )

    def __init__(
        self,
        *,
        size: NonNegativeInt | None = 200,
        per_class: PositiveInt | None = None,
        bytes: PositiveInt | None = None,
        choice: Literal["herding", "random", "reservoir"] = "herding",
        balanced: bool = True,
    ) -> None:
        super().__init__()
        self.size, self.per_class, self.bytes = size, per_class, bytes
        self.choice, self.balanced = choice, balanced
        self.keys = np.zeros(0, np.int64)  # [M] of a reservoir: each row draws one when it is seen, and the smallest stay

    def keep(self, session: Session, samples: Samples, seed: int) -> None:
        """Choose among what is kept and the session's samples, in whatever order `session.train` has them."""
        room = self._room(len(session.seen_classes), samples.image_bytes)
        if not room.any():
            return
        new = np.setdiff1d(session.train, self.rows)
        rows = np.concatenate([self.rows, new])
        drawn = stream(seed, "keys").integers(LAST, size=len(samples.labels))  # a row's key, whatever its neighbours
        keys = np.concatenate([self.keys, drawn[new]]) if self.choice == "reservoir" else drawn[rows]
        if not self.balanced:
            stay = np.argsort(keys, kind="stable")[: room.sum()]
            rows, keys, room = rows[stay], keys[stay], np.full_like(room, len(stay))
        labels = samples.labels[rows]
        chooses = np.isin(labels, samples.labels[new])
        rank = np.where(chooses, keys, np.arange(len(rows)))  # of two rows of a class the smaller one was chosen first
        if self.choice == "herding":
            rank[chooses] = herding_ranks(rows[chooses], labels[chooses], samples, int(room.max()))
        stay = first_of_each(labels, rank, session.seen_classes, room)
        self.rows, self.labels = rows[stay], labels[stay]
        self.keys = keys[stay] if self.choice == "reservoir" else self.keys

    def _room(self, n_classes: int, image_bytes: int) -> np.ndarray:
        """[C] images that each class may have, in the order of arrival."""
        if self.per_class is not None:
            return np.full(n_classes, self.per_class)
        size = self.size if self.bytes is None else self.bytes // image_bytes
        shares, more = divmod(size or 0, max(n_classes, 1))
        return shares + (np.arange(n_classes) < more)

    def state(self) -> dict[str, Tensor]:
        """Rows and labels, and the keys of a reservoir."""
        keys = {"memory.keys": torch.from_numpy(self.keys)} if self.choice == "reservoir" else {}
        return super().state() | keys

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` gave."""
        super().load(state)
        self.keys = state["memory.keys"].numpy() if self.choice == "reservoir" else self.keys


def herding_ranks(rows: np.ndarray, labels: np.ndarray, samples: Samples, n: int) -> np.ndarray:
    """[M] position of each row in the herding order of its class, `LAST` where it is not among the first n."""
    features = samples.features(rows)  # [M, D]
    rank = np.full(len(rows), LAST)
    for label in np.unique(labels):
        own = np.flatnonzero(labels == label)
        own = own[np.argsort(rows[own])]  # of equal images the lowest row
        chosen = own[herd(features[own], n)]
        rank[chosen] = np.arange(len(chosen))
    return rank


def first_of_each(labels: np.ndarray, rank: np.ndarray, classes: tuple[int, ...], room: np.ndarray) -> np.ndarray:
    """Positions of the room[i] rows of smallest rank of each class, in the order of `classes` and in a class of rank.

    Args:
        labels, rank: [M]; classes: [C], every label among them; room: [C].
    """
    number = np.zeros(max(classes, default=0) + 1, np.int64)
    number[list(classes)] = np.arange(len(classes))
    of = number[labels]  # [M] positions in `classes`
    order = np.lexsort((rank, of))
    counts = np.bincount(of, minlength=len(classes))
    place = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)  # in the class
    return order[place < np.repeat(room, counts)]
