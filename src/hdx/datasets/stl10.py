"""STL-10: objects, few of them labelled."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import Arguments, TorchvisionArrays, archive


class Stl10(TorchvisionArrays):
    """13,000 colour 96x96 photographs of 10 kinds of things, 5,000 of them for training.

    Source: Coates, Ng and Lee 2011, An Analysis of Single Layer Networks in Unsupervised Feature Learning

    The 100,000 unlabelled images are left out.
    """

    licence = "not stated by the authors; from ImageNet"
    looked_for = {"path": ("stl10_binary",)}
    reader = "STL10"
    folder = "stl10_binary"
    n_classes = 10

    def _arguments(self) -> tuple[Arguments, Arguments]:
        return {"split": "train"}, {"split": "test"}

    def _images(self, reader: Any) -> np.ndarray:
        return np.ascontiguousarray(reader.data)

    def _labels(self, reader: Any) -> Iterable[Any]:
        return reader.labels.astype(np.int64)

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive."""
        reader = cls._reader()
        return [archive(reader.url, "", reader.tgz_md5)]
