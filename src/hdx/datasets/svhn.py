"""SVHN: digits of house numbers."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import Arguments, TorchvisionArrays


class Svhn(TorchvisionArrays):
    """99,289 colour 32x32 digits cut from photographs of house numbers, 73,257 of them for training.

    Source: Netzer et al. 2011, Reading Digits in Natural Images with Unsupervised Feature Learning

    The 531,131 simpler `extra` images are left out.

    Args:
        path: the folder with train_32x32.mat and test_32x32.mat; null looks under data_dir.
    """

    licence = "for non-commercial use"
    looked_for = {"path": ("svhn", "SVHN")}
    reader = "SVHN"
    n_classes = 10

    def _arguments(self) -> tuple[Arguments, Arguments]:
        return {"split": "train"}, {"split": "test"}

    def _images(self, reader: Any) -> np.ndarray:
        return np.ascontiguousarray(reader.data)

    def _labels(self, reader: Any) -> Iterable[Any]:
        return np.atleast_1d(reader.labels)

    def _classes(self, reader: Any) -> list[str]:
        return [str(digit) for digit in range(10)]

    @classmethod
    def remotes(cls) -> list[Remote]:
        """The two files."""
        table = cls._reader().split_list
        return [Remote((url,), f"svhn/{name}", md5) for url, name, md5 in (table["train"], table["test"])]
