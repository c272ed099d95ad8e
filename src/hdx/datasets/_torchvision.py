"""Datasets through torchvision's readers: the official splits and labels are theirs, decoding and storage are hdx's.

A set is a class that says which reader, where torchvision puts the files, and with which arguments each split is read. Neither
torch nor torchvision is imported to list them.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from hdx import content
from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._download import Remote
from hdx.datasets._find import locate
from hdx.datasets._given import Given, GivenSplits, Samples, contents_of
from hdx.datasets._memory import InMemory, Pixels
from hdx.errors import DataError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed

Arguments = dict[str, Any]


class Reading(Dataset):
    """What both kinds share.

    Facts:
        reader: the class in torchvision.datasets.
        folder: what torchvision calls the files' folder below its root; "" where the root itself is that folder.
    """

    reader: ClassVar[str] = ""
    folder: ClassVar[str] = ""

    @classmethod
    def _reader(cls) -> Any:
        from torchvision import datasets

        return getattr(datasets, cls.reader)

    def _root(self, place: Path) -> Path:
        """The root that the reader wants for the folder that was found. Raises: DataError where it is not called as it should."""
        if not self.folder:
            return place
        if place.name == self.folder and place.is_dir():
            return place.parent
        if (place / self.folder).is_dir():
            return place
        raise DataError(f"dataset {self.called}: {place} holds no {self.folder}/. Extract the archive there or give dataset.path")

    def _open(self, root: Path, arguments: Arguments) -> Any:
        """The reader of a split. Raises: DataError with its reason in a line."""
        try:
            return self._reader()(str(root), **arguments)
        except Exception as error:  # readers raise whatever parsing a damaged file does
            reason = " ".join(str(error).split()) or type(error).__name__
            advice = f"hdx data get {self.called}, or set dataset.path=…" if self.remotes() else "Get it again, whole"
            raise DataError(f"dataset {self.called}: {root / self.folder} is not as published: {reason}. {advice}") from error


class TorchvisionFiles(GivenSplits, Reading):
    """Image files that a reader lists.

    Args:
        path: the folder that torchvision makes, or the one that holds it; null looks under data_dir.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        """What the reader is called with for the train and for the test split; several are joined."""
        return [{"split": "train"}], [{"split": "test"}]

    def _given(self, place: Path) -> Given:
        root = self._root(place)
        base = root / self.folder
        contents = contents_of(base)
        classes: list[str] = []
        parts: list[list[tuple[str, int]]] = []
        for each in self._arguments():
            readers = [self._open(root, arguments) for arguments in each]
            classes = classes or self._classes(readers[0])
            parts.append([(_below(base, file), int(label)) for reader in readers for file, label in self._samples(reader)])
        train, test = self._divided(parts, classes)
        return Given(contents, classes, train, test)

    def _divided(self, parts: Sequence[Samples], classes: list[str]) -> tuple[Samples, Samples]:
        """The two splits, of what was read for them."""
        return parts[0], parts[1]

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        """Path and label of every image of a reader."""
        return zip(reader._image_files, reader._labels)

    def _classes(self, reader: Any) -> list[str]:
        """Names, in the order of the labels."""
        return [str(name) for name in reader.classes]


class WithValidation(TorchvisionFiles):
    """Those whose authors split in three.

    Args:
        path: the folder that torchvision makes, or the one that holds it; null looks under data_dir.
        with_validation: train on the validation images as well, as is usual once settings are chosen.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    validation: ClassVar[str] = "val"

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        with_validation: bool = True,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._with_validation = with_validation
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        names = ["train", self.validation] if self._with_validation else ["train"]
        return [{"split": name} for name in names], [{"split": "test"}]


class TorchvisionArrays(Reading):
    """Small images that a reader holds as an array.

    Args:
        path: the folder that torchvision makes, or the one that holds it; null looks under data_dir.
    """

    def __init__(self, data_dir: Path | None, cache_dir: Path, *, path: FilePath | None = None) -> None:
        super().__init__(data_dir, cache_dir)
        self._take(path)

    def _take(self, path: str | None) -> None:
        place = locate(self.called, self.data_dir, path, self.looked_for["path"])
        root = self._root(place if place.is_dir() else place.parent)
        key = f"{self.called}-{self._variant()}{content.of(root / self.folder)[:24]}"
        decoded = load_or_build(self.cache_dir, key, lambda: self._decoded(root))
        labels = np.array(decoded.facts["labels"], dtype=np.int64)
        n_train, pixels, rows = decoded.facts["n_train"], Pixels(decoded), np.arange(len(labels))
        self.classes = decoded.facts["classes"]
        self.train = InMemory(pixels, rows[:n_train], labels[:n_train])
        self.test = InMemory(pixels, rows[n_train:], labels[n_train:])

    def _variant(self) -> str:
        """What beside the files decides what is read."""
        return ""

    def _arguments(self) -> tuple[Arguments, Arguments]:
        """What the reader is called with for the train and for the test split."""
        return {"train": True}, {"train": False}

    def _decoded(self, root: Path) -> Decoded:
        """Both splits in one array, training images first. Raises: DataError naming a label that no class has."""
        readers = [self._open(root, arguments) for arguments in self._arguments()]
        classes = self._classes(readers[0])
        images = [self._images(reader) for reader in readers]
        labels = [int(label) for reader in readers for label in self._labels(reader)]
        n_images = sum(map(len, images))
        if n_images != len(labels):
            raise DataError(f"dataset {self.called}: {root / self.folder} has {n_images} images and {len(labels)} labels")
        if wrong := [i for i, label in enumerate(labels) if not 0 <= label < len(classes)]:
            seen = f"image {wrong[0]} has label {labels[wrong[0]]}, expected 0 to {len(classes) - 1}"
            raise DataError(f"dataset {self.called}: {root / self.folder}: {seen}. Get the data again")
        return Decoded(np.concatenate(images), {"classes": classes, "labels": labels, "n_train": len(images[0])})

    @abstractmethod
    def _images(self, reader: Any) -> np.ndarray:
        """[N, C, H, W] uint8."""

    @abstractmethod
    def _labels(self, reader: Any) -> Iterable[Any]:
        """[N]."""

    def _classes(self, reader: Any) -> list[str]:
        """Names, in the order of the labels."""
        return [str(name) for name in reader.classes]


class Mnists(TorchvisionArrays):
    """Those in the format of MNIST.

    Args:
        path: the folder that torchvision makes, or the one that holds it; null looks under data_dir.
    """

    def _images(self, reader: Any) -> np.ndarray:
        return reader.data.numpy()[:, None]

    def _labels(self, reader: Any) -> Iterable[Any]:
        return reader.targets.tolist()

    @classmethod
    def remotes(cls) -> list[Remote]:
        """The four files, from any of torchvision's mirrors."""
        reader = cls._reader()
        return [
            Remote(tuple(f"{mirror}{name}" for mirror in reader.mirrors), f"{cls.folder}/raw/{name}", md5, f"{cls.folder}/raw")
            for name, md5 in reader.resources
        ]


def archive(url: str, folder: str, checksum: str = "") -> Remote:
    """An archive that is downloaded into `folder` below the folder of datasets, and unpacked there."""
    name = url.rstrip("/").rpartition("/")[2]
    return Remote((url,), f"{folder}/{name}" if folder else name, checksum, unpack=folder)


def _below(base: Path, file: Any) -> str:
    return Path(file).relative_to(base).as_posix()
