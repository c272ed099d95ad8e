"""DTD: textures, by the words that describe them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import Arguments, TorchvisionFiles, archive
from hdx.options import FilePath, PositiveFloat, PositiveInt, Unhashed


class Dtd(TorchvisionFiles):
    """5,640 photographs of 47 kinds of textures; ten published splits in three equal parts.

    Source: Cimpoi et al. 2014, Describing Textures in the Wild

    Args:
        path: the folder dtd that torchvision makes, or the one that holds it; null looks under data_dir.
        partition: which of the published splits.
        with_validation: train on the validation images as well, as is usual once settings are chosen.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "for research"
    looked_for = {"path": ("dtd",)}
    reader = "DTD"
    folder = "dtd"
    n_classes = 47

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        partition: Annotated[int, "[1, 10]"] = 1,
        with_validation: bool = True,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._partition, self._with_validation = partition, with_validation
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        names = ["train", "val"] if self._with_validation else ["train"]
        train = [{"split": name, "partition": self._partition} for name in names]
        return train, [{"split": "test", "partition": self._partition}]

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive."""
        return [archive(cls._reader()._URL, "dtd", cls._reader()._MD5)]
