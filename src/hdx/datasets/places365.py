"""Places365: scenes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from hdx.datasets._torchvision import Arguments, TorchvisionFiles
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed


class Places365(TorchvisionFiles):
    """1.8 million photographs of 365 kinds of places for training (standard), and 36,500 for validation, here the test split.

    Source: Zhou et al. 2017, Places: A 10 Million Image Database for Scene Recognition

    The authors keep the labels of their test images. The folder holds their lists (categories_places365.txt, …) and images as
    torchvision unpacks them: data_256_standard/ and val_256/, or the large ones.

    Args:
        path: that folder; null looks under data_dir.
        small: the images of 256 x 256 pixels, or the large ones.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "CC BY"
    looked_for = {"path": ("places365",)}
    reader = "Places365"
    n_classes = 365

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        small: bool = True,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._small = small
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        return [{"split": "train-standard", "small": self._small}], [{"split": "val", "small": self._small}]

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return reader.imgs
