"""How a tree of images is laid out: recognised whole, or refused with what was seen and what was expected."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from hdx.datasets._kinds import ARCHIVES
from hdx.datasets._listing import LeftOut, Listing, list_classes
from hdx.datasets._roles import CONTAINERS
from hdx.datasets._tree import Contents
from hdx.errors import DataError

EXPECTED = "Expected <class>/<image>, or train/<class>/<image> beside test/<class>/<image>"
LISTS = "If a file says which image is of which class, give dataset.train_list=…"
OUTSIDE = "images outside class folders"


@dataclass
class Layout:
    """What a tree gives.

    Attributes:
        listing: labelled images of both splits.
        left_out: what is not used.
        in_test: [N] bool, which images are of the given test split; None where the tree has none.
        splits: what the train and the test split are called, for messages.
        said: lines about how the tree was read, for the user.
    """

    listing: Listing
    left_out: LeftOut
    in_test: np.ndarray | None = None
    splits: tuple[str, str] = ("", "")
    said: list[str] = field(default_factory=list)

    def without(self, names: Collection[str]) -> Layout:
        """The layout with some images left out. Raises: DataError naming a class that has no image left."""
        kept = np.array([name not in names for name in self.listing.names])
        in_test = None if self.in_test is None else self.in_test[kept]
        listing = self.listing.without(names)
        if gone := np.flatnonzero(np.bincount(listing.labels, minlength=len(listing.classes)) == 0).tolist():
            seen = f"class '{listing.classes[gone[0]]}' in {listing.files.path} has no image that can be read"
            raise DataError(f"{seen}. Replace its files or remove it")
        return replace(self, listing=listing, in_test=in_test)


@dataclass
class Folder:
    """A folder, and how many images are in it directly and further down."""

    direct: int = 0
    deep: int = 0

    @property
    def n_images(self) -> int:
        """Both."""
        return self.direct + self.deep

    @property
    def by_class(self) -> bool:
        """Whether it holds folders of images, but for some strays."""
        return self.deep > self.direct


def noted(contents: Contents) -> LeftOut:
    """What is left out of any tree: files that are no images, and hidden images."""
    left_out = LeftOut()
    packed = [name for name in contents.others if name.lower().endswith(ARCHIVES)]
    left_out.add("archives (unpack them)", packed)
    left_out.add("files that are no images to Pillow", sorted(set(contents.others) - set(packed)))
    left_out.add("hidden images", contents.hidden)
    return left_out


def children(contents: Contents, top: str) -> dict[str, Folder]:
    """The folders directly below `top` by name, empty ones as well."""
    found: dict[str, Folder] = defaultdict(Folder)
    for folder in contents.folders:
        if folder.startswith(top) and "/" not in folder[len(top) :]:
            found[folder[len(top) :]].direct += 0
    for name in contents.images:
        if name.startswith(top):
            head, nested, rest = name[len(top) :].partition("/")
            if nested:
                found[head].deep += "/" in rest
                found[head].direct += "/" not in rest
    return dict(sorted(found.items()))


def grandchildren(contents: Contents, top: str) -> dict[str, dict[str, Folder]]:
    """For each folder directly below `top` with images the folders in it with images; one pass, as there may be many classes."""
    found: dict[str, dict[str, Folder]] = defaultdict(lambda: defaultdict(Folder))
    for name in contents.images:
        if name.startswith(top) and "/" in (below := name[len(top) :]):
            head, _, rest = below.partition("/")
            sub, nested, rest = rest.partition("/")
            inside = found[head]
            if nested:
                inside[sub].deep += "/" in rest
                inside[sub].direct += "/" not in rest
    return {head: dict(inside) for head, inside in sorted(found.items())}


def strays(contents: Contents, top: str) -> list[str]:
    """Images directly in `top`."""
    return [name for name in contents.images if name.startswith(top) and "/" not in name[len(top) :]]


def of_classes(contents: Contents, top: str, left_out: LeftOut, test: str | None = None) -> Layout:
    """Class folders below `top`, and below `test` those of the test split.

    Raises: DataError for folders that are no classes, and where images outside class folders outnumber the others.
    """
    listing = list_classes(contents, unders=[top] if test is None else [top, test], left_out=left_out)
    if odd := [cls for cls in listing.classes if cls.lower() in CONTAINERS]:
        seen = f"has {listed(listing.classes)}, of which {odd[0]}/ is no class"
        raise DataError(f"{contents.files.path} {seen}. {EXPECTED}, and nothing else")
    if len(outside := strays(contents, top)) >= len(listing):
        seen = f"has {len(outside)} images outside class folders and {len(listing)} in them"
        raise DataError(f"{contents.files.path} {seen}. {EXPECTED}. {LISTS}")
    layout = Layout(listing, left_out)
    if test is not None:
        layout.in_test = np.array([name.startswith(test) for name in listing.names])
    return layout


def listed(folders: Sequence[str]) -> str:
    """Folders for a message, the first five of them."""
    more = f" and {len(folders) - 5} more" if len(folders) > 5 else ""
    return ", ".join(f"{name}/" for name in folders[:5]) + more
