"""Which of the known layouts a tree has: class folders, folders of splits above them, or below them."""

from __future__ import annotations

import numpy as np

from hdx.datasets._kinds import ARCHIVES
from hdx.datasets._layout import (
    EXPECTED,
    LISTS,
    OUTSIDE,
    Folder,
    Layout,
    children,
    grandchildren,
    listed,
    noted,
    of_classes,
    strays,
)
from hdx.datasets._listing import LeftOut, composed, listing_of
from hdx.datasets._roles import CONTAINERS, SPLITS, roles
from hdx.datasets._tree import Contents
from hdx.errors import DataError


def recognise(contents: Contents) -> Layout:
    """The layout of a tree of class folders.

    Raises: DataError that says what was seen and what was expected, where the folders are not clearly classes or splits.
    """
    left_out = noted(contents)
    if not contents.images:
        raise DataError(f"{contents.files.path} has no class folders with images, only {left_out or 'empty folders'}. {EXPECTED}")
    top = _top(contents)
    below = children(contents, top)
    _refuse_packed(contents, roles(below))
    found = roles(below)
    if found and not _one_class_among(below, found):
        layout = _Splits(contents, top, below, found, left_out).layout()
    else:
        layout = _splits_below_classes(contents, top, left_out) or of_classes(contents, top, left_out)
        if found:
            layout.said.append(f"{listed(list(found))} is read as a class, like the folders beside it")
    counted = {name for names in left_out.names.values() for name in names} | set(layout.listing.names)
    left_out.add(OUTSIDE, [name for name in contents.images if name not in counted])
    return layout


def _top(contents: Contents) -> str:
    """The folders that hold nothing but one folder of folders and some strays: "" or "a/" or "a/b/"; a split is not gone into."""
    top = ""
    while True:
        below = children(contents, top)
        full = [name for name, folder in below.items() if folder.n_images]
        if roles(below) or len(full) != 1 or not below[full[0]].by_class:
            return top
        if len(strays(contents, top)) >= below[full[0]].n_images:
            return top
        top += full[0] + "/"


def _refuse_packed(contents: Contents, found: dict[str, str]) -> None:
    """Raises: DataError for a split that is still in an archive."""
    for name in contents.others:
        base = name.rpartition("/")[2]
        if base.lower().endswith(ARCHIVES):
            role = roles([base.partition(".")[0]]).get(base.partition(".")[0])
            if role in SPLITS and role not in found.values():
                raise DataError(f"{contents.files.path}: '{name}' is an archive inside. Unpack it, or give dataset.path={base}")


def _one_class_among(below: dict[str, Folder], found: dict[str, str]) -> bool:
    """Whether the one folder with a split's name holds images directly, as the folders beside it do: `train`, `car`, `plane`."""
    plain = [name for name, folder in below.items() if name not in found and folder.n_images]
    if len(found) != 1 or not plain or any(name.lower() in CONTAINERS for name in plain):
        return False
    return all(below[name].n_images and not below[name].by_class for name in [*plain, *found])


class _Splits:
    """A tree with folders that are named after splits.

    Args:
        contents, top: where they stand.
        below: all folders there.
        found: what those are for that say it.
        left_out: what is not used so far.
    """

    def __init__(self, contents: Contents, top: str, below: dict[str, Folder], found: dict[str, str], left_out: LeftOut) -> None:
        self.contents, self.top, self.below, self.found, self.left_out = contents, top, below, found, left_out
        self.path = contents.files.path
        self.inner = {name: self._inside(f"{top}{name}/") for name in found if below[name].n_images}
        self.labelled = [name for name, prefix in self.inner.items() if self._by_class(prefix)]

    def layout(self) -> Layout:
        """Train and test. Raises: DataError where they are not clear."""
        if folds := [name for name, role in self.found.items() if role == "fold"]:
            raise DataError(f"{self.path} has {listed(folds)}: folds, and no classes. {EXPECTED}. {LISTS}")
        train = self._train()
        if train is None:
            return self._alone()
        test = self._test()
        layout = of_classes(self.contents, self.inner[train], self.left_out, self.inner[test] if test else None)
        layout.splits = (f"{train}/", f"{test}/")
        if test is None:
            layout.said.append(f"{train}/ has no labelled test folder beside it: dataset.test_fraction of it is the test split")
        self._count_others({train, test})
        return layout

    def _named(self, role: str) -> list[str]:
        return [name for name, its in self.found.items() if its == role]

    def _train(self) -> str | None:
        names = self._named("train")
        full = [name for name in names if name in self.inner]
        if len(full) > 1:
            raise DataError(f"{self.path} has more than one folder to train on: {listed(full)}. Keep one  (dataset.path=…)")
        if names and not full:
            raise DataError(f"{self.path}: {names[0]}/ has no images. {EXPECTED}")
        if full and full[0] not in self.labelled:
            n_images = self.below[full[0]].n_images
            raise DataError(f"{self.path}: {full[0]}/ has {n_images} images and no class folders for them. {EXPECTED}. {LISTS}")
        return full[0] if full else None

    def _test(self) -> str | None:
        """The test split: of the folders for test, then of those for validation, the one with class folders."""
        for role in ("test", "validation"):
            usable = [name for name in self._named(role) if name in self.labelled]
            if len(usable) > 1:
                raise DataError(f"{self.path} has more than one folder for {role}: {listed(usable)}. Keep one")
            if usable:
                return usable[0]
        if empty := [name for name in self._named("test") + self._named("validation") if name not in self.inner]:
            raise DataError(
                f"{self.path}: {empty[0]}/ has no images. Fill it, or remove it: then a part of train is the test split"
            )
        return None

    def _alone(self) -> Layout:
        """A validation or test folder by itself is a set like any other. Raises: DataError where more is there."""
        full = [name for name, folder in self.below.items() if folder.n_images]
        if len(full) == 1 and full[0] in self.labelled:
            layout = of_classes(self.contents, self.inner[full[0]], self.left_out)
            layout.said.append(f"{full[0]}/ stands alone: dataset.test_fraction of it is the test split")
            return layout
        raise DataError(f"{self.path} has {listed(list(self.below))} and nothing to train on. {EXPECTED}. {LISTS}")

    def _inside(self, prefix: str) -> str:
        """Where a split's class folders begin: `train/`, or below a folder that says the same again, as in `train/train/`."""
        own = prefix.rstrip("/").rpartition("/")[2]
        while True:
            full = [name for name, folder in children(self.contents, prefix).items() if folder.n_images]
            if len(full) != 1 or not (full[0] == own or full[0].lower() in CONTAINERS or roles(full)):
                return prefix
            prefix += full[0] + "/"

    def _by_class(self, prefix: str) -> bool:
        n_images = sum(folder.n_images for folder in children(self.contents, prefix).values())
        return n_images > len(strays(self.contents, prefix))

    def _count_others(self, used: set[str | None]) -> None:
        for name, folder in self.below.items():
            if name in used or not folder.n_images:
                continue
            role = self.found.get(name)
            reason = f"images in {name}/, which is no split"
            if role is not None:
                reason = (
                    f"images of the {role} split in {name}/" if name in self.labelled else f"images without labels in {name}/"
                )
            self.left_out.add(reason, [each for each in self.contents.images if each.startswith(f"{self.top}{name}/")])


def _splits_below_classes(contents: Contents, top: str, left_out: LeftOut) -> Layout | None:
    """`<class>/train/<image>` beside `<class>/test/<image>`; None for a tree without it. Raises: DataError for half of one."""
    classes = grandchildren(contents, top)
    given = {cls: roles(below) for cls, below in classes.items()}
    divided = [cls for cls, found in given.items() if "train" in found.values() and set(found.values()) & set(SPLITS[1:])]
    if not divided:
        return None
    test = "test" if all("test" in found.values() for found in given.values()) else "validation"
    for cls, found in given.items():
        wanted = [name for name, role in found.items() if role in ("train", test)]
        flat = [name for name in wanted if classes[cls][name].direct and not classes[cls][name].deep]
        if len(flat) != 2 or wanted != flat:
            seen = f"{divided[0]}/ has {listed(list(given[divided[0]]))}, and {cls}/ not one of each with images directly in it"
            raise DataError(f"{contents.files.path}: {seen}. {EXPECTED}")
    chosen: dict[str, tuple[str, str]] = {}
    in_test = set()
    for name in contents.images:
        cls, _, rest = name[len(top) :].partition("/")
        role = given.get(cls, {}).get(rest.partition("/")[0]) if name.startswith(top) else None
        if role in ("train", test):
            chosen[name] = composed(cls), name[len(top) :]
            in_test |= {name} if role == test else set()
        elif role is not None:
            left_out.add(f"images of the {role} split", [name])
    listing = listing_of(contents, chosen)
    mask = np.array([name in in_test for name in listing.names])
    return Layout(listing, left_out, mask, ("<class>/train/", f"<class>/{test}/"))
