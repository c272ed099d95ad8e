"""iNaturalist: plants, animals and fungi."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from hdx.datasets._torchvision import Arguments, TorchvisionFiles
from hdx.errors import DataError
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed


class Inaturalist(TorchvisionFiles):
    """2.7 million photographs of 10,000 species (2021; mini: half a million), and 100,000 for validation, here the test split.

    Source: Van Horn et al. 2021, Benchmarking Representation Learning for Natural World Image Collections

    Args:
        path: the folder that holds 2021_train_mini (or 2021_train) and 2021_valid; null looks under data_dir.
        mini: train on the set of 50 images a species, or on all.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "that of each picture, for non-commercial research"
    looked_for = {"path": ("inaturalist", "iNaturalist", "inat")}
    reader = "INaturalist"
    n_classes = 10_000

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        mini: bool = True,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._mini = mini
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        return [{"version": "2021_train_mini" if self._mini else "2021_train"}], [{"version": "2021_valid"}]

    def _open(self, root: Path, arguments: Arguments) -> Any:
        version = arguments["version"]
        if not (root / version).is_dir():  # the reader would make the folder
            raise DataError(f"dataset inaturalist: {root} holds no {version}/. Unpack the archive there, under that name")
        return super()._open(root, arguments)

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        folders = [Path(reader.root) / name for name in reader.all_categories]
        return sorted((folders[label] / name, label) for label, name in reader.index)  # a folder's order is not fixed

    def _classes(self, reader: Any) -> list[str]:
        return list(reader.all_categories)
