"""Few-shot class-incremental learning: a base session with many images, then sessions with few shots of new classes."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.errors import ConfigError, DataError
from hdx.options import PositiveInt, Seed
from hdx.protocols._base import Protocol, Session
from hdx.protocols._sampling import check_shots, class_order, make_sessions
from hdx.protocols._session_lists import session_lists
from hdx.rules import alone


class FewShotClassIncremental(Protocol):
    """A base session with many images a class, then sessions with few shots of new classes; scored on all classes seen so far.

    Test images are all those of the seen classes. With `lists` the sessions are those of the field's published files, found as
    fscil_splits.zip or fscil_splits/ under data_dir: CIFAR-100 60 + 8 x 5, CUB-200 100 + 10 x 10, miniImageNet 60 + 8 x 5, all
    with 5 shots. CIFAR-100's are indices into its train split; the other two name files, and go with dataset=folder on a tree
    with train/ and test/. `base`, `step`, `shots`, `base_shots`, `order_seed` and `shot_seed` must then keep their defaults.

    Source: Tao et al. 2020, "Few-Shot Class-Incremental Learning"; lists as distributed with CEC (Zhang et al. 2021).

    Args:
        base: classes of the base session; None takes 60 %.
        step: new classes in each later session; None takes an eighth of the classes after the base, at least 2. The last session
            may be smaller.
        shots: training images of each new class.
        base_shots: training images of each base class; None takes all.
        sessions: later sessions; None goes on until every class has come.
        lists: take the sessions from the field's lists for this dataset.
        order_seed: seed of the class order, shared with the field's toolboxes (1993 by convention); None follows the run's seed.
        shot_seed: seed of the draw of shots; None follows the run's seed.
        train_seed: seed of the gradient phase; None follows the run's seed.
    """

    looked_for = {"lists": ("fscil_splits.zip", "fscil_splits")}
    known = {"fscil_splits.zip": "00fc172c3c0f0e5922b3e56af5b24bcef7f5098402a24e86552f1a141f51d39e"}
    rules = (
        alone(
            "lists",
            "base",
            "step",
            "shots",
            "base_shots",
            "order_seed",
            "shot_seed",
            say="says which classes and images come when",
        ),
    )

    def __init__(
        self,
        *,
        base: PositiveInt | None = None,
        step: PositiveInt | None = None,
        shots: PositiveInt = 5,
        base_shots: PositiveInt | None = None,
        sessions: PositiveInt | None = None,
        lists: Literal["cifar100", "cub200", "mini_imagenet"] | None = None,
        order_seed: Seed | None = None,
        shot_seed: Seed | None = None,
        train_seed: Seed | None = None,
    ) -> None:
        self.base, self.step, self.shots, self.base_shots = base, step, shots, base_shots
        self.n_later, self.lists = sessions, lists
        self.order_seed, self.shot_seed, self.train_seed = order_seed, shot_seed, train_seed

    def check_classes(self, n_classes: int) -> None:
        """See `Protocol`."""
        if self.lists is None:
            self._sizes(n_classes)

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """The base session, then `step` classes at a time with `shots` images each, in the order of `order_seed`.

        Raises: ConfigError or DataError with the numbers when dataset, options and lists do not fit.
        """
        if self.lists is not None:
            return self._listed(dataset)
        base, step = self._sizes(len(dataset.classes))
        check_shots(dataset.train, dataset.classes, self.shots)
        check_shots(dataset.train, dataset.classes, self.base_shots, "protocol.base_shots")
        order = class_order(len(dataset.classes), seed if self.order_seed is None else self.order_seed)
        groups = np.split(order, range(base, len(order), step))
        groups = groups[: self._kept(len(groups) - 1, f"{len(order) - base} classes after the base, {step} at a time")]
        shots: list[int | None] = [self.base_shots, *[self.shots] * (len(groups) - 1)]
        return make_sessions(dataset, groups, shots, seed if self.shot_seed is None else self.shot_seed)

    def _sizes(self, n_classes: int) -> tuple[int, int]:
        """Classes of the base session and of a step. Raises: ConfigError when they are more than there are."""
        base = self.base or max(1, n_classes * 6 // 10)
        step = self.step or max(min(2, n_classes - base), (n_classes - base) // 8, 1)
        if base + step > n_classes:
            own = f"{base}{'' if self.base else ' (60 %)'} + protocol.step {step}"
            raise ConfigError(f"protocol.base {own}: {base + step} classes are needed, the dataset has {n_classes}")
        return base, step

    def _kept(self, n_later: int, why: str) -> int:
        """Sessions that are kept, of a base session and `n_later`."""
        if (self.n_later or 0) > n_later:
            raise ConfigError(f"protocol.sessions: expected at most {n_later} ({why}), got {self.n_later}")
        return 1 + (self.n_later or n_later)

    def _listed(self, dataset: Dataset) -> list[Session]:
        listed = session_lists(str(self.lists), dataset)
        if len(listed) < 2:
            raise DataError(f"protocol.lists={self.lists}: only session_1.txt was found, and no later session")
        sessions: list[Session] = []
        seen: tuple[int, ...] = ()
        for index, each in enumerate(listed[: self._kept(len(listed) - 1, f"those of protocol.lists={self.lists}")]):
            new = tuple(int(label) for label in each.classes)
            seen += new
            test = np.flatnonzero(np.isin(dataset.test.labels, seen))
            sessions.append(Session(index, new, seen, each.train, test))
        return sessions
