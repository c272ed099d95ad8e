"""CIFAR-10 and CIFAR-100 through torchvision's readers."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from hdx import content
from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._find import locate
from hdx.datasets._memory import InMemory, Pixels
from hdx.errors import DataError
from hdx.options import FilePath, Unhashed

logger = logging.getLogger("hdx")


class Cifar10(Dataset):
    """60,000 colour 32x32 photographs of 10 classes, 50,000 of them for training.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images

    Args:
        path: the folder cifar-10-batches-py, or the one that holds it; null looks under data_dir.
        download: let torchvision download the data into data_dir (or path) when it is not there.
    """

    licence: ClassVar[str] = "not stated by the authors"
    name: ClassVar[str] = "cifar10"
    folder: ClassVar[str] = "cifar-10-batches-py"
    looked_for = {"path": ("cifar-10-batches-py",)}
    n_classes = 10

    def __init__(
        self, data_dir: Path | None, cache_dir: Path, *, path: Unhashed[FilePath | None] = None, download: Unhashed[bool] = False
    ) -> None:
        super().__init__(data_dir, cache_dir)
        self._load(path, download)

    def _load(self, path: str | None, download: bool) -> None:
        root = self._root(path, download)
        key = f"{self.name}-{content.of_folder(root / self.folder)[:24]}"
        decoded = load_or_build(self.cache_dir, key, lambda: self._read(root))
        self.classes = decoded.facts["classes"]
        labels = np.array(decoded.facts["labels"], dtype=np.int64)
        n_train = decoded.facts["n_train"]
        rows, pixels = np.arange(len(labels)), Pixels(decoded)
        self.train = InMemory(pixels, rows[:n_train], labels[:n_train])
        self.test = InMemory(pixels, rows[n_train:], labels[n_train:])

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

    def _reader(self) -> Any:
        from torchvision.datasets import CIFAR10

        return CIFAR10

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


class Cifar100(Cifar10):
    """60,000 colour 32x32 photographs of 100 classes, 50,000 of them for training.

    Source: Krizhevsky 2009, Learning multiple layers of features from tiny images

    Args:
        path: the folder cifar-100-python, or the one that holds it; null looks under data_dir.
        download: let torchvision download the data into data_dir (or path) when it is not there.
    """

    name: ClassVar[str] = "cifar100"
    folder: ClassVar[str] = "cifar-100-python"
    looked_for = {"path": ("cifar-100-python",)}
    n_classes = 100

    def __init__(
        self, data_dir: Path | None, cache_dir: Path, *, path: Unhashed[FilePath | None] = None, download: Unhashed[bool] = False
    ) -> None:
        super().__init__(data_dir, cache_dir, path=path, download=download)

    def _reader(self) -> Any:
        from torchvision.datasets import CIFAR100

        return CIFAR100
