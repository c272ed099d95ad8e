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
from hdx.protocols._sampling import check_shots, train_indices
from hdx.rules import ANY, only_when
from hdx.seeds import stream

QUARTERS = 4


class Domains(Dataset):
    """A dataset in several domains: its train and test split are those of the dataset, once for each domain.

    Row d * N + i of a split of N images is image i in domain d; domain 0 is the dataset as it is.

    Args:
        dataset: the dataset.
        kind: of the domains, rotations or corruptions.

    Attributes:
        n_train, n_test: images of the dataset's splits.
        domains: their names.

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
        self.plain, self.n_train, self.n_test = dataset.train, len(dataset.train), len(dataset.test)
        parts = (dataset.train, dataset.test)
        self.train, self.test = (Joined(_copies(images, kind, seed)) for seed, images in enumerate(parts))


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

    A domain is the dataset with every image changed in one way: all training images come again in each. All classes arrive in
    the first session, whose domain is the dataset as it is; later sessions have no new class. Test images count for the session
    in which their domain came, so that the accuracy matrix, forgetting and the means over sessions are over domains, acc_base
    is of the first domain and acc_novel of the others. The domain of a test image is not told.

    Source: van de Ven and Tolias 2019, "Three scenarios for continual learning" (domain-incremental); rotations after Lopez-Paz
    and Ranzato 2017 (rotated MNIST, here by quarter turns), corruptions after Hendrycks and Dietterich 2019

    Args:
        domains: quarter turns of the images (4 domains; squares only), or corruptions of them: inversion, noise, contrast and
            brightness (5 domains with the images as they are).
        sessions: how many domains come, one in each session; None takes all.
        shots: training images a class, the same ones in every domain; None takes all.
        order_seed: seed of the order of the domains after the first; None follows the run's seed.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
    """

    rules = (only_when("shot_seed", shots=ANY),)

    def __init__(
        self,
        *,
        domains: Literal["rotations", "corruptions"] = "rotations",
        sessions: PositiveInt | None = None,
        shots: PositiveInt | None = None,
        order_seed: Seed | None = None,
        shot_seed: Seed | None = None,
        train_seed: Seed | None = None,
    ) -> None:
        self.domains, self.n_sessions, self.shots = domains, sessions, shots
        self.order_seed, self.shot_seed, self.train_seed = order_seed, shot_seed, train_seed

    def view(self, dataset: Dataset) -> Domains:
        """The dataset in all domains; a view is its own view. Raises: ConfigError where images cannot be turned."""
        return dataset if isinstance(dataset, Domains) else Domains(dataset, self.domains)

    def setting(self, sessions: list[Session]) -> str:
        """`4 domains, rotations`."""
        return f"{len(sessions)} domain{'s' if len(sessions) > 1 else ''}, {self.domains}"

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """A session for each domain. Raises: ConfigError with the numbers when there are fewer domains or images."""
        view = self.view(dataset)
        order = self._order(len(view.domains), seed if self.order_seed is None else self.order_seed)
        check_shots(view.plain, view.classes, self.shots)
        shot_seed = seed if self.shot_seed is None else self.shot_seed
        classes = tuple(range(len(view.classes)))
        train = np.concatenate([train_indices(view.plain, label, self.shots, shot_seed) for label in classes])
        test = [domain * view.n_test + np.arange(view.n_test) for domain in order]
        groups = np.repeat(np.arange(len(order)), view.n_test)
        return [
            Session(
                index,
                () if index else classes,
                classes,
                domain * view.n_train + train,
                np.concatenate(test[: index + 1]),
                train_classes=classes,
                test_group=groups[: (index + 1) * view.n_test],
            )
            for index, domain in enumerate(order)
        ]

    def _order(self, n_domains: int, order_seed: int) -> list[int]:
        """The domains of the sessions. Raises: ConfigError when there are not so many."""
        n_sessions = n_domains if self.n_sessions is None else self.n_sessions
        if n_sessions > n_domains:
            raise ConfigError(f"protocol.sessions: expected at most {n_domains} (domains by {self.domains}), got {n_sessions}")
        later = 1 + stream(order_seed, "domains").permutation(n_domains - 1)
        return [0, *later.tolist()][:n_sessions]
