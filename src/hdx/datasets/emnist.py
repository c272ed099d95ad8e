"""EMNIST: handwritten letters and digits."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import Arguments, Mnists, archive
from hdx.options import FilePath


class Emnist(Mnists):
    """Grey 28x28 handwritten letters (26 classes, both cases as one), or letters and digits in other groupings.

    Source: Cohen et al. 2017, EMNIST: an extension of MNIST to handwritten letters

    The files hold transposed images; here they are upright.

    Args:
        path: the folder EMNIST, or the one that holds it; null looks under data_dir.
        subset: which of the authors' groupings.
    """

    licence = "not stated by the authors; made from NIST Special Database 19, a work of the US government"
    looked_for = {"path": ("EMNIST",)}
    reader = "EMNIST"
    folder = "EMNIST"

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        subset: Literal["letters", "balanced", "byclass", "bymerge", "digits", "mnist"] = "letters",
    ) -> None:
        self._subset = subset
        super().__init__(data_dir, cache_dir, path=path)

    def _variant(self) -> str:
        return f"{self._subset}-"

    def _arguments(self) -> tuple[Arguments, Arguments]:
        return {"split": self._subset, "train": True}, {"split": self._subset, "train": False}

    def _images(self, reader: Any) -> np.ndarray:
        return super()._images(reader).swapaxes(2, 3)

    def _labels(self, reader: Any) -> Iterable[Any]:
        return (reader.targets - self._first).tolist()

    def _classes(self, reader: Any) -> list[str]:
        return super()._classes(reader)[self._first :]

    @property
    def _first(self) -> int:
        """Letters are numbered from 1."""
        return 1 if self._subset == "letters" else 0

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive of all groupings, each file packed again."""
        reader = cls._reader()
        return [archive(reader.url, "EMNIST/raw", reader.md5)]
