"""Online: a stream without tasks, whose samples arrive once, in chunks."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.errors import ConfigError
from hdx.options import Fraction, PositiveInt, Seed
from hdx.protocols._base import Protocol, Session
from hdx.protocols._sampling import check_shots, class_order, train_indices
from hdx.rules import ANY, only_when
from hdx.seeds import stream


class Online(Protocol):
    """A task-free stream: every training sample arrives once, in chunks; after each it is scored on all classes seen so far.

    Every chunk is a session: its size differs by at most one sample from that of the others, whatever classes these are of. A
    class may come again in later chunks and a chunk may bring no new class; a class is new in the chunk that has its first
    sample. Nothing tells a method where one class ends. Inside a chunk, batches are drawn in random order; that each is used
    once is the recipe's (trainer.epochs=1, or trainer.feature_epochs=1 where only a gradient head trains), and is checked for all
    methods but the bounds that see everything. What a memory replays comes with each chunk, once.

    The stream is made in three steps. `classes`: all samples of one class after those of another, in the order of `order_seed`;
    within a class in random order. `blurry`: round(disjoint x classes) classes are drawn that stay so; of each other class
    round(blur x its samples) samples are drawn, and all those drawn are shuffled among the places they leave. So every chunk
    keeps its size, blur=0 is `classes`, and of blur=1 with disjoint=0 nothing but the seeds differs from `shuffled`: a
    permutation of all samples, all equally likely.

    Source: Aljundi et al. 2019, "Task-Free Continual Learning"; blurry after i-Blurry-N-M (Koh et al. 2022, "Online Continual
    Learning on Class Incremental Blurry Task Configuration with Anytime Inference"), from memory

    With disjoint = N % and blur = M % the blurry stream is i-Blurry-N-M but for one thing: there each task has whole classes as
    its own, here a chunk is cut by samples and so may begin inside a class.

    Args:
        chunks: how many.
        order: of the samples: class after class, the same with a part of the samples in random places, or all at random.
        blur: share of the samples of a blurry class that change places, of order=blurry; 0.1 there is M = 10.
        disjoint: share of the classes that are not blurred, of order=blurry; 0.5 there is N = 50.
        shots: training images a class; None takes all.
        order_seed: seed of the stream; its class order is shared with the field's toolboxes. None follows the run's seed.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
    """

    one_pass = True
    rules = (
        only_when("blur", order="blurry"),
        only_when("disjoint", order="blurry"),
        only_when("shot_seed", shots=ANY),
    )

    def __init__(
        self,
        *,
        chunks: PositiveInt = 10,
        order: Literal["classes", "blurry", "shuffled"] = "classes",
        blur: Fraction = 0.1,
        disjoint: Fraction = 0.0,
        shots: PositiveInt | None = None,
        order_seed: Seed | None = None,
        shot_seed: Seed | None = None,
        train_seed: Seed | None = None,
    ) -> None:
        self.chunks, self.order, self.blur, self.disjoint, self.shots = chunks, order, blur, disjoint, shots
        self.order_seed, self.shot_seed, self.train_seed = order_seed, shot_seed, train_seed

    def setting(self, sessions: list[Session]) -> str:
        """`stream of 10 chunks, classes`."""
        return f"stream of {len(sessions)} chunk{'s' if len(sessions) > 1 else ''}, {self.order}"

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """The chunks. Raises: ConfigError with the numbers when there are too few samples."""
        check_shots(dataset.train, dataset.classes, self.shots)
        order_seed, shot_seed = (seed if own is None else own for own in (self.order_seed, self.shot_seed))
        rows = self._stream(dataset, order_seed, shot_seed)
        if self.chunks > len(rows):
            raise ConfigError(f"protocol.chunks: expected at most {len(rows)} (samples of the stream), got {self.chunks}")
        sessions: list[Session] = []
        seen: tuple[int, ...] = ()
        for index, chunk in enumerate(np.array_split(rows, self.chunks)):
            classes = _by_appearance(dataset.train.labels[chunk])
            new = tuple(label for label in classes if label not in seen)
            seen += new
            present = tuple(label for label in seen if label in classes)
            test = np.flatnonzero(np.isin(dataset.test.labels, seen))
            sessions.append(Session(index, new, seen, chunk, test, train_classes=present))
        return sessions

    def _stream(self, dataset: Dataset, order_seed: int, shot_seed: int) -> np.ndarray:
        """Rows of the train split in the order in which they arrive."""
        order = class_order(len(dataset.classes), order_seed)
        drawn = [train_indices(dataset.train, int(label), self.shots, shot_seed) for label in order]
        parts = [stream(order_seed, "online", int(label)).permutation(rows) for label, rows in zip(order, drawn)]
        rows = np.concatenate(parts)
        if self.order == "shuffled":
            return stream(order_seed, "online", "shuffled").permutation(rows)
        if self.order == "blurry":
            places = self._places(order, [len(part) for part in parts], order_seed)
            rows[places] = rows[stream(order_seed, "online", "blurry").permutation(places)]
        return rows

    def _places(self, order: np.ndarray, sizes: list[int], order_seed: int) -> np.ndarray:
        """Where in the stream class after class the samples stand that change places."""
        n_disjoint = round(self.disjoint * len(order))
        disjoint = set(stream(order_seed, "online", "disjoint").permutation(len(order))[:n_disjoint].tolist())
        places = [np.zeros(0, np.int64)]
        for label, start, size in zip(order.tolist(), np.cumsum([0, *sizes]), sizes):
            if label not in disjoint:
                drawn = stream(order_seed, "online", "blur", label).permutation(size)[: round(self.blur * size)]
                places.append(start + drawn)
        return np.concatenate(places)


def _by_appearance(labels: np.ndarray) -> list[int]:
    """The different labels, in the order in which they come."""
    return labels[np.sort(np.unique(labels, return_index=True)[1])].tolist()
