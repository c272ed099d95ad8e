"""Omniglot: 20 drawings of each of 1,623 handwritten characters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets._decode import Decoder
from hdx.datasets._find import locate
from hdx.datasets._listing import Listing, list_classes
from hdx.datasets._rotate import Rotated
from hdx.datasets._sets import image_sets
from hdx.datasets._splits import rows_by_class, shuffled
from hdx.datasets._tree import Files
from hdx.errors import DataError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Seed, Unhashed
from hdx.seeds import stream

N_VINYALS_TRAIN = 1200
N_VINYALS_BASE = 1028  # the other 172 of the 1,200 are for validation
ALPHABETS_PER_VALIDATION = 6  # of the 30 background alphabets 5 are for validation


class Omniglot(Dataset):
    """1,623 handwritten characters of 50 alphabets, 20 drawings each, grey.

    Source: Lake, Salakhutdinov and Tenenbaum 2015, Human-level concept learning through probabilistic program induction

    Classes are `<alphabet>/<character>`, with `@090`, `@180`, `@270` after the name of a turned one; `groups` has their
    alphabets. Ink is black on white, as in the files. The list of characters behind the 1,200/423 split of Vinyals et al.
    (2016) was never published with the paper: `vinyals_train` is the first 1,200 of one fixed permutation of all
    characters, the same for every `split_seed`, and `vinyals_test` the other 423.

    Two subsets have a split of their classes for few-shot learning, with all turns of a character on one side: `vinyals` has
    1,028 base, 172 validation (both of vinyals_train) and 423 novel characters; `all` has the evaluation set as novel
    characters, and of the background set five whole alphabets, the same for every `split_seed`, for validation.

    Args:
        path: omniglot.zip, or a folder with images_background/ and images_evaluation/; null looks under data_dir.
        subset: which characters: all 1,623, background (964), evaluation (659), vinyals_train (1,200), vinyals_test (423), or
            vinyals, which is all with the split of classes made of those two.
        rotations: make three further classes of each character, turned by 90, 180 and 270 degrees.
        test_drawings: of the 20 drawings of a character, how many are the test split; the same in all its rotations.
        split_seed: which drawings those are; not the seed of the run.
        image_size: side in pixels; the files have 105.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "MIT"
    looked_for = {"path": ("omniglot.zip", "omniglot-py", "omniglot", "images_background")}
    known = {"omniglot.zip": "d4dea72e29d3f39f19fe66f8979b3a5c814a6abef0d9685e645a4b350e587f3e"}
    beside = {"images_background": ("images_evaluation",)}

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        subset: Literal["all", "background", "evaluation", "vinyals_train", "vinyals_test", "vinyals"] = "all",
        rotations: bool = False,
        test_drawings: Annotated[int, "[1, 19]"] = 5,
        split_seed: Seed = 0,
        image_size: PositiveInt = 28,
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        listing, evaluation = _list(data_dir, path)
        wanted = _characters(subset, listing, evaluation)
        train, test = _drawings(listing, wanted, test_drawings, split_seed)
        labels = np.full(len(listing.classes), -1)
        labels[wanted] = np.arange(len(wanted))
        decoder = Decoder(size=image_size, colour="grey", fit="squash")
        splits = [(rows, labels[listing.labels[rows]]) for rows in (train, test)]
        sets = image_sets("omniglot", cache_dir, listing, decoder, splits, storage=storage, memory_gb=memory_gb)
        characters = [listing.classes[i] for i in wanted]
        self.class_splits = _class_splits(subset, listing, evaluation)
        if rotations:
            self.class_splits = _with_turns(self.class_splits)
            sets = [_with_rotations(each) for each in sets]
            characters = [name + turn for name in characters for turn in ("", "@090", "@180", "@270")]
        self.classes = characters
        self.groups = [name.partition("/")[0] for name in characters]
        self.train, self.test = sets


def _list(data_dir: Path | None, path: str | None) -> tuple[Listing, np.ndarray]:
    """All drawings, and for each character whether it is of the evaluation set."""
    found = locate("omniglot", data_dir, path, Omniglot.looked_for["path"])
    contents = Files(found.parent if found.name == "images_background" else found).contents()
    unders = [(contents.above(part), f"{part}/") for part in ("images_background", "images_evaluation")]
    present = [above + part for above, part in unders if above is not None]
    if not present:
        raise DataError(f"dataset omniglot: {found} has no images_background/<alphabet>/<character>/. Give dataset.path=…")
    listing = list_classes(contents, unders=present, depth=2)
    evaluation = np.zeros(len(listing.classes), dtype=bool)
    evaluation[listing.labels[["images_evaluation/" in name for name in listing.names]]] = True
    return listing, evaluation


def _characters(subset: str, listing: Listing, evaluation: np.ndarray) -> np.ndarray:
    """Class numbers of a subset, ascending. Raises: DataError when its part of the files is missing."""
    if subset != "background" and not evaluation.any() or subset != "evaluation" and evaluation.all():
        missing = "images_evaluation/" if not evaluation.any() else "images_background/"
        other = "background" if not evaluation.any() else "evaluation"
        raise DataError(f"dataset.subset={subset} needs {missing}, absent from {listing.files.path}. Use dataset.subset={other}")
    if subset in ("background", "evaluation"):
        return np.flatnonzero(evaluation == (subset == "evaluation"))
    if subset in ("all", "vinyals"):
        return np.arange(len(evaluation))
    order = _vinyals_order(len(evaluation))
    return np.sort(order[:N_VINYALS_TRAIN] if subset == "vinyals_train" else order[N_VINYALS_TRAIN:])


def _vinyals_order(n_characters: int) -> np.ndarray:
    return stream(0, "omniglot", "vinyals").permutation(n_characters)


def _class_splits(subset: str, listing: Listing, evaluation: np.ndarray) -> dict[str, np.ndarray] | None:
    """Base, validation and novel characters of the subsets that have all characters, ascending."""
    if subset == "vinyals":
        parts = np.split(_vinyals_order(len(evaluation)), [N_VINYALS_BASE, N_VINYALS_TRAIN])
    elif subset == "all":
        alphabets = np.array([name.partition("/")[0] for name in listing.classes])
        background = np.unique(alphabets[~evaluation])
        n_validation = len(background) // ALPHABETS_PER_VALIDATION
        chosen = stream(0, "omniglot", "validation").permutation(background)[:n_validation]
        validation = np.isin(alphabets, chosen) & ~evaluation
        parts = [np.flatnonzero(mask) for mask in (~evaluation & ~validation, validation, evaluation)]
    else:
        return None
    return {name: np.sort(part) for name, part in zip(("base", "validation", "novel"), parts)}


def _with_turns(splits: dict[str, np.ndarray] | None) -> dict[str, np.ndarray] | None:
    if splits is None:
        return None
    return {name: (4 * part[:, None] + np.arange(4)).ravel() for name, part in splits.items()}


def _drawings(listing: Listing, wanted: np.ndarray, n_test: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Train and test rows, ascending."""
    by_class = rows_by_class(listing.labels, len(listing.classes))
    train, test = [], []
    for i in wanted:
        if len(by_class[i]) <= n_test:
            left = f"character '{listing.classes[i]}' has {len(by_class[i])} drawings, which leaves none to train on"
            raise DataError(f"dataset.test_drawings={n_test}: {left}. Use at most {len(by_class[i]) - 1}")
        rows = shuffled(by_class[i], listing.classes[i], seed)
        test.append(rows[:n_test])
        train.append(rows[n_test:])
    return np.sort(np.concatenate(train)), np.sort(np.concatenate(test))


def _with_rotations(base: ImageSet) -> ImageSet:
    rows, turns = np.repeat(np.arange(len(base)), 4), np.tile(np.arange(4), len(base))
    return Rotated(base, rows, turns, base.labels[rows] * 4 + turns)
