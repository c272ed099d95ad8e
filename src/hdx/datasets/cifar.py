"""CIFAR-10 and CIFAR-100: the published batches through torchvision's readers, or class folders of the same pictures."""

from __future__ import annotations

import logging
from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from hdx import content
from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._decode import Decoder
from hdx.datasets._find import locate
from hdx.datasets._human import add_answers
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._recognise import recognise
from hdx.datasets._sets import image_sets
from hdx.datasets._splits import stratified
from hdx.datasets._tree import Files
from hdx.errors import DataError
from hdx.options import FilePath, OpenFraction, Unhashed
from hdx.rules import at_most_one

logger = logging.getLogger("hdx")
SIDE = 32


class _Cifar(Dataset):
    """Both sets; `_read` takes the batches, `_of_folders` class folders."""

    name: ClassVar[str]
    folder: ClassVar[str]
    rules = (at_most_one("path", "class_folders", say="say where the pictures are"),)

    def _load(self, path: str | None, class_folders: str | None, test_fraction: float, download: bool) -> None:
        place = class_folders
        if place is None and path is None and not download:
            place = next((str(found) for name in self.looked_for["class_folders"] if (found := self._below(name))), None)
        if place is not None:
            self._of_folders(locate(self.name, self.data_dir, place, ()), test_fraction)
            return
        root = self._root(path, download)
        key = f"{self.name}-{content.of_folder(root / self.folder)[:24]}"
        decoded = load_or_build(self.cache_dir, key, lambda: self._read(root))
        self.classes = decoded.facts["classes"]
        labels = np.array(decoded.facts["labels"], dtype=np.int64)
        n_train = decoded.facts["n_train"]
        rows, pixels = np.arange(len(labels)), Pixels(decoded)
        self.train = InMemory(pixels, rows[:n_train], labels[:n_train])
        self.test = InMemory(pixels, rows[n_train:], labels[n_train:])

    def _below(self, name: str) -> Path | None:
        """A file or folder of the folder of datasets, where it is there."""
        found = None if self.data_dir is None else self.data_dir / name
        return found if found is not None and found.exists() else None

    def _of_folders(self, place: Path, test_fraction: float) -> None:
        """`train/<class>` beside `test/<class>`, or one of them alone; the official order of the classes is alphabetical."""
        layout = recognise(Files(place).contents())
        listing = layout.listing
        if len(listing.classes) != self.n_classes:
            raise DataError(f"dataset {self.name}: {place} has {len(listing.classes)} class folders, expected {self.n_classes}")
        if layout.in_test is None:
            text = "dataset %s: %s has one split alone: %g of each class is the test split  (dataset.test_fraction)"
            logger.warning(text, self.name, place, test_fraction)
            rows = stratified(listing.labels, listing.classes, test_fraction, 0)
        else:
            rows = np.flatnonzero(~layout.in_test), np.flatnonzero(layout.in_test)
        splits = [(part, listing.labels[part]) for part in rows]
        decoder = Decoder(size=SIDE, colour="rgb", fit="crop")
        self.train, self.test = image_sets(self.name, self.cache_dir, listing, decoder, splits, storage="memory", memory_gb=1.0)
        self.classes = listing.classes

    def _root(self, path: str | None, download: bool) -> Path:
        """The folder that holds the folder of batches."""
        if download:
            target = Path(path).expanduser() if path is not None else self.data_dir
            if target is None:
                raise DataError(f"dataset {self.name}: nowhere to download to. Set data_dir=… or HDX_DATA, or dataset.path=…")
            if target.name != self.folder and not (target / self.folder).is_dir():
                self._download(target)
            path = str(target)
        found = locate(self.name, self.data_dir, path, [self.folder])
        if found.name == self.folder:
            return found.parent
        if (found / self.folder).is_dir():
            return found
        raise DataError(f"dataset {self.name}: {found} holds no {self.folder}/. Extract the archive there or set dataset.path=…")

    def _download(self, target: Path) -> None:
        try:
            self._reader()(str(target), download=True)
        except Exception as error:  # whatever urllib, tarfile and torchvision raise
            raise DataError(f"dataset {self.name}: the download to {target} failed: {error}. Put {self.folder}/ there") from error

    @abstractmethod
    def _reader(self) -> Any:
        """Torchvision's."""

    def _read(self, root: Path) -> Decoded:
        """Both splits in one array, training images first. Raises: DataError naming a missing or altered file."""
        reader = self._reader()
        self._refuse_altered(reader, root)
        train, test = reader(str(root), train=True), reader(str(root), train=False)
        images = np.concatenate([train.data, test.data]).transpose(0, 3, 1, 2)  # [N, 3, 32, 32]
        labels = [int(label) for label in [*train.targets, *test.targets]]
        return Decoded(images, {"classes": list(train.classes), "labels": labels, "n_train": len(train.targets)})

    def _refuse_altered(self, reader: Any, root: Path) -> None:
        """Every file must be, byte for byte, the published one.

        The files are pickles, and a pickle can run code when it is read. Torchvision's table of MD5 sums says which bytes
        the authors published; a file with other bytes is never opened as a pickle.
        """
        from torchvision.datasets.utils import check_integrity

        published = [*reader.train_list, *reader.test_list, (reader.meta["filename"], reader.meta["md5"])]
        for name, md5 in published:
            file = root / reader.base_folder / name
            if not file.is_file():
                raise DataError(f"dataset {self.name}: {file} is missing. Extract the archive again")
            if not check_integrity(str(file), md5):
                raise DataError(f"dataset {self.name}: {file} is not the published file (MD5 differs). Extract the archive again")


class Cifar10(_Cifar):
    """60,000 colour 32x32 photographs of 10 classes, 50,000 of them for training.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images

    Class folders know nothing of the official index of a picture, so lists of indices do not go with them.

    Args:
        path: the folder cifar-10-batches-py, or the one that holds it; null looks under data_dir.
        class_folders: a folder or .zip of class folders (train/<class>, test/<class>) in place of the batches; null looks under
            data_dir, and takes the batches where there is none.
        test_fraction: share of each class that is the test split where the class folders are of one split alone.
        human_labels: what people answered on the test images (CIFAR-10H of Peterson et al. 2019, Human uncertainty makes
            classification more robust; cifar10h.zip, not for commercial use): as soft targets beside the labels, or also the
            class that most of them named in place of the label.
        download: let torchvision download the data into data_dir (or path) when it is not there.
    """

    licence: ClassVar[str] = "not stated by the authors"
    name: ClassVar[str] = "cifar10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    looked_for = {
        "path": ("cifar-10-batches-py",),
        "class_folders": ("cifar10.zip",),
        "human_labels": ("cifar10h.zip", "cifar10h"),
    }
    n_classes = 10

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: Unhashed[FilePath | None] = None,
        class_folders: FilePath | None = None,
        test_fraction: OpenFraction = 0.2,
        human_labels: Literal["soft", "majority"] | None = None,
        download: Unhashed[bool] = False,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        self._load(path, class_folders, test_fraction, download)
        if human_labels is not None:
            place = locate("cifar10 (human_labels)", data_dir, None, self.looked_for["human_labels"])
            add_answers(self, Files(place), majority=human_labels == "majority")

    def _reader(self) -> Any:
        from torchvision.datasets import CIFAR10

        return CIFAR10


class Cifar100(_Cifar):
    """60,000 colour 32x32 photographs of 100 classes, 50,000 of them for training.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images

    Class folders know nothing of the official index of a picture, so lists of indices do not go with them.

    Args:
        path: the folder cifar-100-python, or the one that holds it; null looks under data_dir.
        class_folders: a folder or .zip of class folders (train/<class>, test/<class>) in place of the batches; null looks under
            data_dir, and takes the batches where there is none.
        test_fraction: share of each class that is the test split where the class folders are of one split alone.
        download: let torchvision download the data into data_dir (or path) when it is not there.
    """

    licence: ClassVar[str] = "not stated by the authors"
    name: ClassVar[str] = "cifar100"
    folder: ClassVar[str] = "cifar-100-python"
    looked_for = {"path": ("cifar-100-python",), "class_folders": ("cifar100.zip",)}
    n_classes = 100

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: Unhashed[FilePath | None] = None,
        class_folders: FilePath | None = None,
        test_fraction: OpenFraction = 0.2,
        download: Unhashed[bool] = False,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        self._load(path, class_folders, test_fraction, download)

    def _reader(self) -> Any:
        from torchvision.datasets import CIFAR100

        return CIFAR100
