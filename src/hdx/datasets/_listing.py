"""Images of a tree and their classes."""

from __future__ import annotations

import logging
import unicodedata
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from hdx import content, digest
from hdx.datasets._kinds import ending, image_endings, is_image, printable
from hdx.datasets._tree import Contents, Files
from hdx.errors import DataError

logger = logging.getLogger("hdx")


class LeftOut:
    """What a dataset does not use: files, by the reason."""

    def __init__(self) -> None:
        self.names: dict[str, list[str]] = {}

    def add(self, reason: str, names: Sequence[str]) -> None:
        """Note files; none changes nothing."""
        if names:
            self.names.setdefault(reason, []).extend(names)

    def __str__(self) -> str:
        return "; ".join(f"{len(names)} {reason} (first: {printable(min(names))})" for reason, names in self.names.items())

    def notes(self) -> dict[str, int]:
        """Counts as plain data."""
        return {reason: len(names) for reason, names in self.names.items()}


@dataclass(frozen=True)
class Listing:
    """Images of a tree and their classes, sorted by (class, file name) where nothing gives another order (`in_order`).

    Attributes:
        files: where they are read.
        names: [N] names to read.
        classes: in the order of the labels.
        labels: [N] int64.
        identity: digest of the names and of what the files hold; does not depend on where the tree lies, nor on times.
    """

    files: Files
    names: list[str]
    classes: list[str]
    labels: np.ndarray

    @cached_property
    def identity(self) -> str:
        """Of a .zip all its bytes are what the files hold. Raises: DataError when one cannot be read."""
        path = self.files.path
        held = content.of(path) if self.files.zipped else content.of_files(path, self.names)
        return digest.of_json([held, self.names])

    def __len__(self) -> int:
        return len(self.names)

    def without(self, names: Collection[str]) -> Listing:
        """The listing with some images left out; the classes stay."""
        if not names:
            return self
        kept = [i for i, name in enumerate(self.names) if name not in names]
        return replace(self, names=[self.names[i] for i in kept], labels=self.labels[kept])

    def spellings(self, contents: Contents) -> str:
        """Which class folder is spelled in two Unicode forms, for a message; "" where none is."""
        forms: dict[str, set[str]] = {}
        for folder in contents.folders:
            base = folder.rpartition("/")[2]
            forms.setdefault(composed(base), set()).add(base)
        twice = [cls for cls in self.classes if len(forms.get(cls, ())) > 1]
        return f"'{twice[0]}' is written in two Unicode forms and is one class ({len(twice)} such in all)" if twice else ""


def top_folder(names: Iterable[str]) -> str:
    """The folders that all images share and that hold nothing but one folder: "" or "a/" or "a/b/".

    `101_ObjectCategories/<class>/x.jpg` gives "101_ObjectCategories/"; a tree of one class is left as it is.
    """
    folders = {name.rpartition("/")[0] for name in names}
    top = ""
    while True:
        heads = {folder[len(top) :].partition("/")[0] for folder in folders}
        if len(heads) != 1 or (head := heads.pop()) == "" or top + head in folders:
            return top
        top += head + "/"


def list_classes(
    contents: Contents,
    *,
    unders: Iterable[str] = ("",),
    depth: int = 1,
    drop: Collection[str] = (),
    left_out: LeftOut | None = None,
) -> Listing:
    """Class folders `depth` levels below each of `unders` ("" or "train/"); deeper files belong to the class above them.

    Args:
        contents: the tree.
        unders: prefixes below which classes begin; the same class under two of them is one class.
        depth: 1 for `<class>/x.png`, 2 for `<alphabet>/<character>/x.png`, whose class name is `alphabet/character`.
        drop: classes that are left out.
        left_out: where images outside class folders are noted; without it a line is logged.

    Raises: DataError for a class folder without images, naming it, and for a tree without class folders.
    """
    images, folders = contents.images, contents.folders
    found: dict[str, tuple[str, str]] = {}  # name -> (class, name below the prefix)
    wanted, strays = set(), []
    for under in unders:
        cut = len(under)
        for name in images:
            if name.startswith(under):
                parts = name[cut:].split("/")
                if len(parts) <= depth:
                    strays.append(name)
                else:
                    found[name] = composed("/".join(parts[:depth])), name[cut:]
        wanted |= {composed(f[cut:]) for f in folders if f.startswith(under) and f[cut:] and f[cut:].count("/") == depth - 1}
    classes = {cls for cls, _ in found.values()}
    _refuse_empty(contents, sorted(wanted - classes - set(drop)))
    if not classes - set(drop):
        raise DataError(
            f"{contents.files.path} has no class folders with images; expected <class>/<image> inside{_instead(contents)}"
        )
    if left_out is not None:
        left_out.add("images outside class folders", strays)
    elif strays:
        text = "%s: %d images outside class folders are left out (first: %s)"
        logger.warning(text, contents.files.path, len(strays), strays[0])
    return listing_of(contents, {name: each for name, each in found.items() if each[0] not in drop})


def listing_of(contents: Contents, found: Mapping[str, tuple[str, str]]) -> Listing:
    """The listing of images with given classes.

    Args:
        contents: the tree.
        found: for each image's name (class, what it is called below the folder of classes, which orders the images of a class).
    """
    order = sorted((cls, composed(below), name) for name, (cls, below) in found.items())
    classes = sorted({cls for cls, _, _ in order})
    index = {cls: i for i, cls in enumerate(classes)}
    return Listing(
        files=contents.files,
        names=[name for _, _, name in order],
        classes=classes,
        labels=np.array([index[cls] for cls, _, _ in order], dtype=np.int64),
    )


def in_order(contents: Contents, classes: Sequence[str], samples: Sequence[tuple[str, int]]) -> Listing:
    """The listing of images whose labels are given as numbers, in the given order.

    Args:
        contents: the tree.
        classes: names, in the order of the labels.
        samples: name and label of each image.

    Raises: DataError naming an image that is listed and not there, is listed twice, or has a label that no class has.
    """
    names, where = [name for name, _ in samples], contents.files.path
    if gone := [name for name in names if name not in contents.images]:
        seen = f"{len(gone)} of the {len(names)} images that are listed are not there (first: '{printable(gone[0])}')"
        raise DataError(f"{where}: {seen}. Get the data again, whole")
    if wrong := [each for each in samples if not 0 <= each[1] < len(classes)]:
        name, label = wrong[0]
        more = f" (and {len(wrong) - 1} more like it)" if len(wrong) > 1 else ""
        seen = f"image '{printable(name)}' has label {label}, expected 0 to {len(classes) - 1} ({len(classes)} classes)"
        raise DataError(f"{where}: {seen}{more}. Mend the list of labels")
    if len(set(names)) < len(names):
        twice = next(name for name, count in Counter(names).items() if count > 1)
        raise DataError(f"{where}: image '{printable(twice)}' is listed more than once. Keep one line of it")
    labels = np.array([label for _, label in samples], dtype=np.int64)
    return Listing(files=contents.files, names=names, classes=list(classes), labels=labels)


def composed(name: str) -> str:
    """The name in Unicode's composed form (NFC); macOS writes the other one, and both look alike."""
    return unicodedata.normalize("NFC", name)


def _refuse_empty(contents: Contents, empty: list[str]) -> None:
    if empty:
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        inside = [name for name in contents.others if f"/{empty[0]}/" in f"/{composed(name)}"]
        has = _instead(contents, inside)
        raise DataError(f"class folder '{empty[0]}'{more} in {contents.files.path} has no images{has}. Fill or remove it")


def _instead(contents: Contents, others: Sequence[str] | None = None) -> str:
    """What files there are in place of images: ", only 12 .heic and 3 .txt files"."""
    counts = Counter(ending(name) for name in (contents.others if others is None else others))
    kinds = " and ".join(f"{n_files} {kind}" for kind, n_files in counts.most_common(3))
    return f" (but {kinds} files)" if kinds else ""


def alike_classes(classes: Sequence[str]) -> list[list[str]]:
    """Classes whose names differ in nothing but case and spaces, together; single letters are alphabets and left out."""
    alike: dict[str, list[str]] = {}
    for cls in classes:
        if len(cls) > 1:
            alike.setdefault("".join(cls.split()).casefold(), []).append(cls)
    return [names for names in alike.values() if len(names) > 1]


def listed(paths: Sequence[Path]) -> Iterator[tuple[Files, list[str], str]]:
    """(files, sorted names of images in them, what stands before a name when it is shown) for each path.

    Raises: DataError for a path that does not exist or holds no image.
    """
    for path in paths:
        if path.is_file() and is_image(path.name):
            parent = path.parent
            yield Files(parent), [path.name], "" if str(parent) == "." else f"{parent}/"
            continue
        if not path.exists():
            raise DataError(f"{path} does not exist; expected an image, a folder or a .zip of images")
        files = Files(path)
        names = sorted(files.contents().images)
        if not names:
            raise DataError(f"{path} holds no image that Pillow can open ({' '.join(image_endings())})")
        yield files, names, f"{path}/"
