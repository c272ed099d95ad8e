"""Episodic few-shot learning: bodies train on some classes, and are scored on small tasks made of others."""

from __future__ import annotations

from typing import Literal

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._join import Joined
from hdx.errors import ConfigError
from hdx.options import NonNegativeInt, PositiveFloat, PositiveInt, Scoring, Seed, Unhashed
from hdx.protocols._base import Episodes, Protocol, Session
from hdx.protocols._class_split import class_split, split_problems
from hdx.protocols._episode_checks import able, source_problems
from hdx.protocols._episodes import ClassRows, Shape, Source, draw_episodes


class AllImages(Dataset):
    """A dataset whose train and test split are one and the same, all its images: those of the train split first.

    Args:
        dataset: the dataset.

    Attributes:
        n_train: how many of the images are the dataset's train split.
    """

    licence = "that of the dataset"

    def __init__(self, dataset: Dataset) -> None:
        super().__init__(dataset.data_dir, dataset.cache_dir)
        self.classes, self.groups, self.class_splits = dataset.classes, dataset.groups, dataset.class_splits
        self.notes, self.domains = dataset.notes, dataset.domains
        self.licence = dataset.licence  # type: ignore[misc]  # a class attribute of datasets that have one of their own
        self.train = self.test = Joined([dataset.train, dataset.test])
        self.n_train = len(dataset.train)


class Episodic(Protocol):
    """N-way K-shot episodes of novel classes; the body trains, if at all, on base classes before.

    Every image of a class can be drawn, whichever split of the dataset it is in, unless support=train. The list of episodes is
    a pure function of options, dataset and seed, the same for every method, so that differences are paired; the first 100 of
    1,000 episodes are the list of 100, and with fixed shots the supports are the same whatever the queries.

    Source: Vinyals et al. 2016, "Matching Networks for One Shot Learning"; variable ways and shots by Triantafillou et al. 2020
    (Meta-Dataset), section 3.2; Dirichlet queries by Veilleux et al. 2021, "Realistic Evaluation of Transductive Few-Shot
    Learning"

    Where a dataset publishes a split of its classes (omniglot with subset=vinyals or all) that one is used, else `base` and
    `validation` classes are drawn and the rest are novel. Meta-Dataset's rule draws ways in 5 … min(50, classes), and a support
    of at most 500 images in which a class's shots are roughly proportional to its images; queries a class are then at most
    `queries` (10 there) and at most half of the smallest class. Dirichlet proportions are rounded by largest remainders, and
    what a class has no images for goes to the others.

    Args:
        ways: classes of an episode; null draws them for each by Meta-Dataset's rule.
        shots: support images of a class; null draws them for each by Meta-Dataset's rule.
        queries: query images of a class, or at most that many with shots=null.
        episodes: how many.
        dirichlet: concentration of the proportions by which an episode's classes share its ways x queries query images; a class
            may get none. null gives each `queries`.
        within_groups: take all classes of an episode from one group (omniglot's alphabets), each group equally often; groups with
            fewer classes than `ways` are left out.
        support: draw support images from all of a class, or from the train split and queries from the test split.
        classes: which classes episodes are made of.
        train_on: which classes bodies train on.
        base: base classes where the dataset publishes no split; null takes half.
        validation: validation classes where the dataset publishes no split.
        split_seed: which classes those are; not the seed of the run.
        joint: score queries also against all base classes together with the episode's.
        memory_mb: working memory of the evaluation in MB; changes no result.
        episode_seed: seed of the episodes; null follows the run's seed.
        train_seed: seed of the gradient phase; null follows the run's seed.
    """

    episodic = True

    def __init__(
        self,
        *,
        ways: Scoring[PositiveInt | None] = 5,
        shots: Scoring[PositiveInt | None] = 1,
        queries: Scoring[PositiveInt] = 15,
        episodes: Scoring[PositiveInt] = 1000,
        dirichlet: Scoring[PositiveFloat | None] = None,
        within_groups: Scoring[bool] = False,
        support: Scoring[Literal["all", "train"]] = "all",
        classes: Scoring[Literal["novel", "validation", "base"]] = "novel",
        train_on: Literal["base", "base_and_validation"] = "base",
        base: PositiveInt | None = None,
        validation: NonNegativeInt = 0,
        split_seed: Seed = 0,
        joint: Scoring[bool] = False,
        memory_mb: Unhashed[PositiveInt] = 1024,
        episode_seed: Scoring[Seed | None] = None,
        train_seed: Seed | None = None,
    ) -> None:
        self.ways, self.shots, self.queries, self.n_episodes = ways, shots, queries, episodes
        self.dirichlet, self.within_groups, self.support = dirichlet, within_groups, support
        self.classes, self.train_on = classes, train_on
        self.base, self.validation, self.split_seed = base, validation, split_seed
        self.joint, self.memory_mb = joint, memory_mb
        self.episode_seed, self.train_seed = episode_seed, train_seed
        self.shape = Shape(ways, shots, queries, dirichlet)

    def view(self, dataset: Dataset) -> AllImages:
        """All images of the dataset as one split; a view is its own view."""
        return dataset if isinstance(dataset, AllImages) else AllImages(dataset)

    def setting(self, sessions: list[Session]) -> str:
        """`5-way 1-shot, 1,000 episodes`."""
        ways, shots = ("variable" if n is None else n for n in (self.ways, self.shots))
        return f"{ways}-way {shots}-shot, {self.n_episodes:,} episodes"

    def sessions(self, dataset: Dataset, seed: int) -> list[Session]:
        """One session: the classes that bodies train on with all their images; its test rows are those of the episodes' classes.

        Raises: ConfigError, all lines at once, when options and dataset do not fit each other.
        """
        view = self.view(dataset)
        split, source = self._checked(view)
        new = split["base"] if self.train_on == "base" else np.union1d(split["base"], split["validation"])
        labels = view.test.labels
        train, test = (np.flatnonzero(np.isin(labels, part)) for part in (new, source.classes))
        classes = tuple(int(label) for label in new)
        return [Session(0, classes, classes, train, test)]

    def episodes(self, dataset: Dataset, seed: int) -> list[Episodes]:
        """All episodes; fixed ways and shots make one bucket. Raises: as `sessions`."""
        _, source = self._checked(self.view(dataset))
        return draw_episodes(source, self.shape, self.n_episodes, seed if self.episode_seed is None else self.episode_seed)

    def _checked(self, view: AllImages) -> tuple[dict[str, np.ndarray], Source]:
        """The split of the classes and what episodes are drawn from."""
        problems = split_problems(view, self.base, self.validation)
        if problems and view.class_splits is None:
            raise ConfigError(problems + self._option_problems(view))
        split = class_split(view, self.base, self.validation, self.split_seed)
        source = self._source(view, split[self.classes])
        problems += self._option_problems(view) + self._class_problems(view, split)
        if len(source.classes):
            problems += source_problems(source, self.shape, view.classes, self.classes, len(source.groups) > 1)
        if problems:
            raise ConfigError(problems)
        return split, Source(source.classes, able(source.groups, self.shape), source.support, source.query)

    def _source(self, view: AllImages, classes: np.ndarray) -> Source:
        labels, groups = view.test.labels, [np.arange(len(classes))]
        if self.within_groups and view.groups is not None:
            names = np.array([view.groups[label] for label in classes])
            groups = [np.flatnonzero(names == name) for name in np.unique(names)]
        if self.support == "all":
            images = ClassRows(labels, classes)
            return Source(classes, groups, images, images)
        parts = np.split(np.arange(len(labels)), [view.n_train])
        return Source(classes, groups, *(ClassRows(labels, classes, part) for part in parts))

    def _option_problems(self, view: AllImages) -> list[str]:
        found = []
        if self.within_groups and view.groups is None:
            found.append(
                "protocol.within_groups: the classes of this dataset have no groups (omniglot's have alphabets); use false"
            )
        if self.classes == "validation" and self.train_on == "base_and_validation":
            found.append("protocol.train_on: classes=validation are to be new to the body, so use train_on=base")
        if self.joint and self.classes == "base":
            found.append("protocol.joint: classes=base are the base classes themselves; use joint=false or classes=novel")
        return found

    def _class_problems(self, view: AllImages, split: dict[str, np.ndarray]) -> list[str]:
        n_classes, found = len(split[self.classes]), []
        if not n_classes and self.classes == "validation" and view.class_splits is None:
            found.append("protocol.classes=validation: there are 0 validation classes; give protocol.validation=…")
        elif not n_classes:
            found.append(f"protocol.classes={self.classes}: the dataset has 0 {self.classes} classes")
        if self.joint and not len(split["base"]):
            found.append("protocol.joint: the dataset has 0 base classes to score against; use joint=false")
        counts = np.bincount(view.test.labels, minlength=len(view.classes))
        empty = [label for label in split["base"] if not counts[label]]
        if empty:
            more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
            found.append(f"base class '{view.classes[empty[0]]}'{more} has no images: fill or remove it")
        return found
