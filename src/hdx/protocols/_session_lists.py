"""The field's session lists of few-shot class-incremental learning: which training images each session has.

`<name>/session_1.txt` has the base session, `session_2.txt` and so on the later ones; a line is an index into the train split
(CIFAR-100) or the path of an image (CUB-200, miniImageNet), of which class folder and file name count.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from hdx.datasets._base import Dataset, ImageSet
from hdx.errors import DataError

ARCHIVE, FOLDER = "fscil_splits.zip", "fscil_splits"
BY_INDEX = ("cifar100",)
MAX_BYTES = 64 * 2**20
_FILE = re.compile(r"(?:^|.*/)([^/]+)/session_(\d+)\.txt$")


@dataclass(frozen=True)
class Listed:
    """One session as its list has it.

    Attributes:
        classes: [C] dataset labels in order of appearance.
        train: [N] indices into the train split, in the order of the list.
    """

    classes: np.ndarray
    train: np.ndarray


def session_lists(name: str, dataset: Dataset) -> list[Listed]:
    """The sessions of the lists `name` on a dataset. Raises: DataError with the numbers when lists and dataset do not fit."""
    where, texts = _read(name, dataset.data_dir)
    place = _by_index if name in BY_INDEX else _by_path
    sessions: list[Listed] = []
    owner = np.full(len(dataset.classes), -1)  # the session a class came in
    for number, text in enumerate(texts, start=1):
        file = f"{where}: {name}/session_{number}.txt"
        train = place(file, [line.strip() for line in text.splitlines() if line.strip()], dataset)
        labels = dataset.train.labels[train]
        classes = labels[np.sort(np.unique(labels, return_index=True)[1])]
        if len(again := classes[owner[classes] >= 0]):
            raise DataError(
                f"{file} lists images of class '{dataset.classes[again[0]]}', which session_{owner[again[0]]}.txt has already: "
                f"these lists are not of this dataset ({_size(dataset)})"
            )
        owner[classes] = number
        sessions.append(Listed(classes, train))
    return sessions


def _size(dataset: Dataset) -> str:
    return f"{len(dataset.train)} training images of {len(dataset.classes)} classes"


def _by_index(file: str, lines: list[str], dataset: Dataset) -> np.ndarray:
    wrong = next((line for line in lines if not line.isdecimal()), None)
    if wrong is not None:
        raise DataError(f"{file}: expected an index into the train split on each line, got '{wrong[:40]}'")
    train = np.array([int(line) for line in lines], dtype=np.int64)
    if train.max() >= len(dataset.train):
        raise DataError(f"{file} lists training image {train.max()}, the dataset has {_size(dataset)}: lists of another dataset")
    return _unique(file, train)


def _by_path(file: str, lines: list[str], dataset: Dataset) -> np.ndarray:
    """Rows of the images whose class folder and file name a list has."""
    rows = _rows_by_name(dataset.train, dataset.classes)
    if rows is None:
        raise DataError(f"{file} lists files, but the images of this dataset have none. Take dataset=folder")
    keys = ["/".join(line.split("/")[-2:]) for line in lines]
    missing = [line for line, key in zip(lines, keys) if key not in rows]
    if missing:
        held = _rows_by_name(dataset.test, dataset.classes) or {}
        n_test = sum(key in held for key in keys)
        advice = f"{n_test} are in its test split; give it train/ and test/ folders" if n_test else "lists of another dataset?"
        lacks = f"{len(missing)} (first: {missing[0]}) are not in the dataset's train split ({_size(dataset)})"
        raise DataError(f"{file} lists {len(lines)} images, of which {lacks}: {advice}")
    return _unique(file, np.array([rows[key] for key in keys], dtype=np.int64))


def _rows_by_name(images: ImageSet, classes: list[str]) -> dict[str, int] | None:
    """`class/file.jpg` to the row; None where images have no names."""
    if images.names is None:
        return None
    return {f"{classes[label]}/{name.rpartition('/')[2]}": i for i, (name, label) in enumerate(zip(images.names, images.labels))}


def _unique(file: str, train: np.ndarray) -> np.ndarray:
    if (n := len(np.unique(train))) != len(train):
        raise DataError(f"{file} has {len(train)} lines for {n} different images. Extract the lists again")
    return train


def _read(name: str, data_dir: Path | None) -> tuple[Path, list[str]]:
    """Where the lists are, and the text of each session's. Raises: DataError when one is missing, empty or unreadable."""
    where = _locate(name, data_dir)
    read, members = _open(where)
    numbered: dict[int, str] = {}
    for member in members:
        if (found := _FILE.match(member)) and found[1] == name:
            numbered[int(found[2])] = member
    if not numbered:
        raise DataError(f"{where} has no {name}/session_1.txt. Give the folder or .zip of the session lists in data_dir")
    if (gap := next(i for i in range(1, len(numbered) + 2) if i not in numbered)) <= max(numbered):
        raise DataError(f"{where} has {name}/session_{max(numbered)}.txt but no session_{gap}.txt. Extract the lists again")
    texts = []
    for number in sorted(numbered):
        try:
            texts.append(read(numbered[number]).decode("ascii"))
        except (OSError, UnicodeDecodeError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"cannot read {numbered[number]} in {where}: {error}. Replace the file") from error
        if not texts[-1].strip():
            raise DataError(f"{where}: {name}/session_{number}.txt is empty. Replace the file")
    return where, texts


def _locate(name: str, data_dir: Path | None) -> Path:
    looked = f"Looked for: {ARCHIVE}, {FOLDER}/{name}/session_1.txt. Set data_dir=… or HDX_DATA"
    if data_dir is None:
        raise DataError(f"protocol.lists={name}: session lists not found, no data_dir is set. {looked}")
    for found in (data_dir / ARCHIVE, data_dir / FOLDER):
        if found.exists():
            return found
    raise DataError(f"protocol.lists={name}: session lists not found under {data_dir}. {looked}")


def _open(where: Path) -> tuple[Callable[[str], bytes], list[str]]:
    """How to read a member, and the names of all."""
    if where.is_dir():
        return lambda name: (where / name).read_bytes(), [file.relative_to(where).as_posix() for file in where.rglob("*.txt")]
    try:
        with zipfile.ZipFile(where) as archive:
            sizes = {info.filename: info.file_size for info in archive.infolist()}
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{where} is not a readable .zip: {error}") from error

    def read(name: str) -> bytes:
        if sizes[name] > MAX_BYTES:
            raise DataError(f"'{name}' in {where} has {sizes[name]} bytes, more than {MAX_BYTES}. Replace the file")
        with zipfile.ZipFile(where) as archive:
            return archive.read(name)

    return read, list(sizes)
