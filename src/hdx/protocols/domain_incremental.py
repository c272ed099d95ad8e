"""Domain-incremental learning: the same classes in every session, and each time their images look another way."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets._corrupt import KINDS, Corrupted
from hdx.datasets._join import Joined
from hdx.datasets._rotate import Rotated
from hdx.errors import ConfigError
from hdx.options import PositiveInt, Seed
from hdx.protocols._base import Protocol, Session
from hdx.rules import ANY, only_when
from hdx.seeds import stream

QUARTERS = 4


class Domains(Dataset):
    """A dataset in several domains: its train and test split are those of the dataset, once for each domain.

    Row d * N + i of a split of N images is image i in domain d; domain 0 is the dataset as it is.

    Args:
        dataset: the dataset.
        kind: of the domains, rotations or corruptions.

    Raises: ConfigError where images that are not square are to be turned.
    """

    licence = "that of the dataset"

    def __init__(self, dataset: Dataset, kind: str) -> None:
        super().__init__(dataset.data_dir, dataset.cache_dir)
        self.classes, self.groups, self.class_splits = dataset.classes, dataset.groups, dataset.class_splits
        self.notes = dataset.notes
        self.licence = dataset.licence  # type: ignore[misc]  # a class attribute of datasets that have one of their own
        height, width = dataset.train.image_shape[1:]
        if kind == "rotations" and height != width:
            raise ConfigError(
                f"protocol.domains=rotations: expected square images, the dataset's are {height} x {width}: "
                "take protocol.domains=corruptions"
            )
        self.domains = names(kind)
        parts = (dataset.train, dataset.test)
        self.train, self.test = (Joined(_copies(images, kind, seed)) for seed, images in enumerate(parts))
        for images, plain in ((self.train, dataset.train), (self.test, dataset.test)):
            images.domains = np.repeat(np.arange(len(self.domains)), len(plain))


def names(kind: str) -> list[str]:
    """The domains of a kind."""
    if kind == "rotations":
        return [f"{90 * turns} degrees" for turns in range(QUARTERS)]
    return ["original", *KINDS]


def _copies(images: ImageSet, kind: str, seed: int) -> list[ImageSet]:
    """A split in every domain."""
    if kind == "corruptions":
        return [images, *(Corrupted(images, name, seed) for name in KINDS)]
    rows = np.arange(len(images))
    turned = [Rotated(images, rows, np.full(len(rows), turns), images.labels) for turns in range(1, QUARTERS)]
    return [images, *turned]


class DomainIncremental(Protocol):
    """The same classes in every session, each time in a new domain; scored on the test images of all domains seen so far.

    A domain is one of the dataset's own, or the dataset with every image changed in one way: then all training images come again
    in each. A class arrives in the first session whose domain has training images of it, mostly the first, which is that of the
    dataset as it is. Test images count for the session in which their domain came, so that the accuracy matrix, forgetting and
    the means over sessions are over domains, acc_base is of the first domain and acc_novel of the others; those of domains
    that nothing is trained on are scored from the first session on and count for it. The domain of a test image is not told.

    Source: van de Ven and Tolias 2019, "Three scenarios for continual learning" (domain-incremental); rotations after Lopez-Paz
    and Ranzato 2017 (rotated MNIST, here by quarter turns), corruptions after Hendrycks and Dietterich 2019

    Args:
        domains: quarter turns of the images (4 domains; squares only), corruptions of them: inversion, noise, contrast and
            brightness (5 domains with the images as they are), or the dataset's own, as of domain_folders.
        sessions: how many domains come, one in each session; None takes all.
        shots: training images a class in every domain, the same ones where images come again; None takes all.
        order_seed: seed of the order of the domains after the first; None follows the run's seed.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
    """

    rules = (only_when("shot_seed", shots=ANY),)

    def __init__(
        self,
        *,
        domains: Literal["rotations", "corruptions", "own"] = "rotations",
        sessions: PositiveInt | None = None,
        shots: PositiveInt | None = None,
        order_seed: Seed | None = None,
        shot_seed: Seed | None = None,
        train_seed: Seed | None = None,
    ) -> None:
        self.domains, self.n_sessions, self.shots = domains, sessions, shots
        self.order_seed, self.shot_seed, self.train_seed = order_seed, shot_seed, train_seed

    def view(self, dataset: Dataset) -> Dataset:
        """The dataset in all domains; a view is its own view. Raises: ConfigError where images cannot be turned."""
        if self.domains == "own":
            if dataset.domains is None:
                raise ConfigError(
                    "protocol.domains=own: the dataset has no domains of its own. Take rotations or corruptions, "
                    "or a dataset with domains, as domain_folders"
                )
            return dataset
        return dataset if isinstance(dataset, Domains) else Domains(dataset, self.domains)

    def setting(self, sessions: list[Session]) -> str:
        """`4 domains, rotations`."""
        return f"{len(sessions)} domain{'s' if len(sessions) > 1 else ''}, {self.domains}"

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """A session for each domain. Raises: ConfigError with the numbers when there are fewer domains or images."""
        view = self.view(dataset)
        assert view.domains is not None and view.train.domains is not None and view.test.domains is not None
        order = self._order(np.unique(view.train.domains).tolist(), seed if self.order_seed is None else self.order_seed)
        shot_seed = seed if self.shot_seed is None else self.shot_seed
        parts = [self._train(view, domain, shot_seed) for domain in order]
        foreign = np.setdiff1d(view.test.domains, view.train.domains)  # scored on, never trained on
        came = [np.flatnonzero(np.isin(view.test.domains, foreign)), *(np.flatnonzero(view.test.domains == d) for d in order)]
        groups = np.repeat([0, *range(len(order))], [len(rows) for rows in came])
        sessions: list[Session] = []
        seen: tuple[int, ...] = ()
        for index, train in enumerate(parts):
            present = tuple(np.unique(view.train.labels[train]).tolist())
            new = tuple(label for label in present if label not in seen)
            seen += new
            test = np.concatenate(came[: index + 2])
            scored = np.isin(view.test.labels[test], seen)
            group = groups[: len(test)][scored]
            sessions.append(Session(index, new, seen, train, test[scored], train_classes=present, test_group=group))
        return sessions

    def _train(self, view: Dataset, domain: int, shot_seed: int) -> np.ndarray:
        """Training rows of a domain, class by class. Raises: ConfigError naming a class with too few."""
        assert view.domains is not None and view.train.domains is not None
        here = np.flatnonzero(view.train.domains == domain)
        labels = view.train.labels[here]
        counts = np.bincount(labels, minlength=len(view.classes))
        few = np.flatnonzero((counts > 0) & (counts < (self.shots or 0)))
        if len(few):
            label = few[counts[few].argmin()]
            held = f"training images of class '{view.classes[label]}' in domain '{view.domains[domain]}'"
            raise ConfigError(f"protocol.shots: expected at most {counts[label]} ({held}), got {self.shots}")
        parts = [here[labels == label] for label in np.flatnonzero(counts)]
        if self.shots is not None:
            drawn = zip(parts, np.flatnonzero(counts).tolist())
            parts = [np.sort(stream(shot_seed, "shots", label).permutation(rows)[: self.shots]) for rows, label in drawn]
        return np.concatenate(parts)

    def _order(self, domains: list[int], order_seed: int) -> list[int]:
        """The domains of the sessions. Raises: ConfigError when there are not so many."""
        n_sessions = len(domains) if self.n_sessions is None else self.n_sessions
        if n_sessions > len(domains):
            raise ConfigError(f"protocol.sessions: expected at most {len(domains)} (domains by {self.domains}), got {n_sessions}")
        later = 1 + stream(order_seed, "domains").permutation(len(domains) - 1)
        return [domains[0], *(domains[i] for i in later)][:n_sessions]
