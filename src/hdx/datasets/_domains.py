"""Trees of domains: `<domain>/<class>/<image>`, the same classes in each, with folders of splits above or below the domains."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from hdx.datasets._given import Given, GivenSplits, Samples, contents_of
from hdx.datasets._kinds import printable
from hdx.datasets._layout import children, listed
from hdx.datasets._listing import composed
from hdx.datasets._roles import roles
from hdx.datasets._splits import stratified
from hdx.datasets._tree import Contents
from hdx.errors import ConfigError, DataError
from hdx.options import FilePath, OpenFraction, PositiveFloat, PositiveInt, Seed, Unhashed

logger = logging.getLogger("hdx")
EXPECTED = "Expected <domain>/<class>/<image> with the same classes in every domain"


class DomainTree(GivenSplits):
    """Folders of domains, each with the same class folders.

    Args:
        path: the folder or the .zip; null looks under data_dir.
        use: domains, in the order in which they arrive; null takes all, sorted.
        target: the domain whose images are the test split, those of the others being the train split (domain generalisation);
            null takes the published lists where there are some, else test_fraction of every class in every domain.
        test_fraction: share of each class in each domain that is the test split, where nothing else says it.
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        use: list[str] | None = None,
        target: str | None = None,
        test_fraction: OpenFraction = 0.2,
        split_seed: Seed = 0,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._use, self._target = use, target
        self._test_fraction, self._split_seed = test_fraction, split_seed
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _given(self, place: Path) -> Given:
        contents = contents_of(place)
        found = _places(contents, _top(contents))
        present = _classes(contents, found)
        domains = self._chosen(sorted(present))
        classes = sorted(set().union(*(present[domain] for domain in domains)))
        _say_missing(contents, {domain: present[domain] for domain in domains}, classes)
        names = [name for name in sorted(found) if found[name].domain in domains]
        samples = [(name, classes.index(found[name].cls)) for name in names]
        domain_of = {name: domains.index(found[name].domain) for name in names}
        train, test = self._split(contents, domains, classes, samples, found)
        return Given(contents, classes, train, test, domains=domains, domain_of=domain_of)

    def _chosen(self, present: list[str]) -> list[str]:
        """The domains that are used. Raises: ConfigError for one that is not there."""
        domains = present if self._use is None else list(dict.fromkeys(self._use))
        named = [("use", name) for name in domains] + ([] if self._target is None else [("target", self._target)])
        for option, name in named:
            if name not in (present if option == "use" else domains):
                there = ", ".join(present if option == "use" else domains)
                raise ConfigError(f"dataset.{option}: expected one of the domains {there}, got '{name}'")
        if len(domains) < 2 and self._target is not None:
            raise ConfigError(f"dataset.target={self._target} leaves no domain to train on: give dataset.use at least two")
        return domains

    def _split(
        self, contents: Contents, domains: list[str], classes: list[str], samples: Samples, found: dict[str, _Place]
    ) -> tuple[Samples, Samples]:
        if self._target is not None:
            return _parted(samples, {name for name, place in found.items() if place.domain == self._target})
        if (published := self._published(contents, domains, classes, samples)) is not None:
            return published
        if any(place.role for place in found.values()):
            return _parted(samples, {name for name, place in found.items() if place.role != "train"})
        cells = [f"{found[name].domain}/{classes[label]}" for name, label in samples]
        names = sorted(set(cells))
        numbers = {name: i for i, name in enumerate(names)}
        labels = np.array([numbers[cell] for cell in cells])
        train, test = stratified(labels, names, self._test_fraction, self._split_seed)
        return [samples[i] for i in train], [samples[i] for i in test]

    def _published(
        self, contents: Contents, domains: list[str], classes: list[str], samples: Samples
    ) -> tuple[Samples, Samples] | None:
        """Train and test by lists among the files; None without any."""
        return None


def _top(contents: Contents) -> str:
    """What stands before the domains: the folders that hold nothing but one folder."""
    top = ""
    while True:
        below = [name for name, folder in children(contents, top).items() if folder.n_images]
        if len(below) != 1:
            return top
        top += below[0] + "/"


@dataclass(frozen=True)
class _Place:
    """Where an image stands: in which domain and class, and in which split where folders say it ("" else)."""

    domain: str
    cls: str
    role: str = ""


def _places(contents: Contents, top: str) -> dict[str, _Place]:
    """Every image that lies in a domain and a class; of the splits that folders name train, and test or else validation."""
    folders = {name: composed(name[len(top) :]).split("/")[:-1] for name in contents.images if name.startswith(top)}
    found: dict[str, _Place] = {}
    at, named = _splits(folders.values())
    for name, above in folders.items():
        role = named.get(above[at], "") if len(above) > at >= 0 else ""
        rest = above if at < 0 else [*above[:at], *above[at + 1 :]]
        if len(rest) > 1 and (at < 0 or role):
            found[name] = _Place(rest[0], rest[1], role)
    used = {"", "train", "test" if "test" in named.values() else "validation"}
    kept = {name: place for name, place in found.items() if place.role in used}
    if len(kept) < len(contents.images):
        first = min(set(contents.images) - set(kept))
        text = "%s: left out: %d images that are in no domain and class of a used split (first: %s)"
        logger.warning(text, contents.files.path, len(contents.images) - len(kept), printable(first))
    return kept


def _splits(folders: Collection[list[str]]) -> tuple[int, dict[str, str]]:
    """At which level folders name splits, and what each of them is for; -1 where none does."""
    for level in (0, 1):
        named = roles({above[level] for above in folders if len(above) > level})
        if "train" in named.values() and {"test", "validation"} & set(named.values()):
            return level, named
    return -1, {}


def _classes(contents: Contents, found: dict[str, _Place]) -> dict[str, set[str]]:
    """The classes of each domain. Raises: DataError where the tree is none of domains."""
    classes: dict[str, set[str]] = {}
    for place in found.values():
        classes.setdefault(place.domain, set()).add(place.cls)
    where = contents.files.path
    if len(classes) < 2:
        raise DataError(f"{where} has {len(classes)} folders of class folders. {EXPECTED}; dataset=folder reads class folders")
    if len(set().union(*classes.values())) == sum(map(len, classes.values())):
        seen = f"has {listed(sorted(classes))}, which share no class"
        raise DataError(f"{where} {seen}. {EXPECTED}; dataset=folder reads class folders")
    return classes


def _parted(samples: Samples, test: Collection[str]) -> tuple[Samples, Samples]:
    return [each for each in samples if each[0] not in test], [each for each in samples if each[0] in test]


def _say_missing(contents: Contents, present: dict[str, set[str]], classes: Sequence[str]) -> None:
    missing = [f"{domain}/{cls}" for domain, own in present.items() for cls in classes if cls not in own]
    if missing:
        text = "%s: %d classes are missing from a domain (first: %s)"
        logger.warning(text, contents.files.path, len(missing), missing[0])


def of_lists(contents: Contents, files: Sequence[str], samples: Samples, classes: list[str]) -> Samples:
    """Images that list files name, a line `<path> <label>` each, by the end of their path; the folder says the class.

    Args:
        files: names of the lists inside the data.
        samples: every image with its label.

    Raises: DataError naming the list and the line of an image that is not there, or of a number that others of its class do not
        have.
    """
    ends = {"/".join(name.split("/")[-3:]): (name, label) for name, label in samples}
    found: list[tuple[str, int, str, str]] = []
    for file in files:
        for number, line in enumerate(contents.files.read(file).decode("utf-8", "replace").splitlines(), 1):
            path, _, given = line.strip().rpartition(" ")
            if not line.strip():
                continue
            if (known := ends.get("/".join(path.split("/")[-3:]))) is None:
                seen = f"line {number} of {file} names no image: '{printable(path)}'"
                raise DataError(f"{contents.files.path}: {seen}. Get the data again, whole")
            found.append((*known, given, f"line {number} of {file}"))
    counts: dict[int, Counter[str]] = defaultdict(Counter)
    for _, label, given, _ in found:
        counts[label][given] += 1
    usual = {label: count.most_common(1)[0][0] for label, count in counts.items()}
    for _, label, given, line in found:
        if given != usual[label]:
            seen = f"{line} has label {given}, the others of class '{classes[label]}' have {usual[label]}"
            raise DataError(f"{contents.files.path}: {seen}. Mend the line")
    return [(name, label) for name, label, _, _ in found]
