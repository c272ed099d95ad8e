"""Names of folders that say what the images in them are for: train, validation, test, unlabelled."""

from __future__ import annotations

import re
from collections.abc import Iterable

WORDS = {
    "train": ("train", "training", "trainval", "trn"),
    "validation": ("val", "valid", "validation", "dev", "eval", "evaluation"),
    "test": ("test", "testing", "tst", "holdout", "heldout"),
    "unlabelled": ("unlabelled", "unlabeled", "unsup", "unsupervised", "pred", "predict", "prediction", "inference"),
    "fold": ("fold", "folds", "split"),
}
OF_WORD = {word: role for role, words in WORDS.items() for word in words}
SPLITS = ("train", "validation", "test")
#: What stands beside such a word and says nothing: `train_set`, `images-train`, `test1`.
FILLERS = {"set", "data", "dataset", "images", "image", "imgs", "img", "folder", "files", "photos", "pictures", "part"}
#: Folders that hold a kind of file, and are no class.
CONTAINERS = {"images", "imgs", "jpegimages", "labels", "annotations", "annots", "masks", "data", "dataset"}
_JOINED = re.compile(rf"^({'|'.join(sorted(OF_WORD, key=len, reverse=True))})(set|data|images|imgs)$")
_PARTS = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[^\W\d_]+")


def roles(folders: Iterable[str]) -> dict[str, str]:
    """What each of the folders is for that stand beside each other; those that say nothing of it are left out.

    A name counts that is such a word alone (`Train`, `valid`, `test_set`, `val2017`), and, where one of them is for training,
    those with the same words around it: `seg_train` beside `seg_test`.
    """
    split = {folder: _split(folder) for folder in folders}
    trained = {rest for role, rest in split.values() if role == "train"}
    return {folder: role for folder, (role, rest) in split.items() if role and (not rest or _paired(rest, trained, split))}


def _paired(rest: tuple[str, ...], trained: set[tuple[str, ...]], split: dict[str, tuple[str, tuple[str, ...]]]) -> bool:
    alike = {role for role, other in split.values() if other == rest}
    return rest in trained and len(alike & {*SPLITS, "unlabelled"}) > 1


def _split(folder: str) -> tuple[str, tuple[str, ...]]:
    """The role that a name has, or "", and the other words in it."""
    words = [word.lower() for word in _PARTS.findall(folder)]
    words = [part for word in words for part in _JOINED.sub(r"\1 \2", word).split()]
    words = [word for word in words if word not in FILLERS]
    found = [OF_WORD[word] for word in words if word in OF_WORD]
    if found != ["train", "validation"] and len(found) != 1:
        return "", ()
    return found[0], tuple(word for word in words if word not in OF_WORD)
