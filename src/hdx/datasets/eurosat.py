"""EuroSAT: land use from space."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

from hdx.datasets._download import Remote
from hdx.datasets._given import Samples, divided
from hdx.datasets._torchvision import Arguments, TorchvisionFiles
from hdx.options import FilePath, OpenFraction, PositiveFloat, PositiveInt, Seed, Unhashed

URL = "https://huggingface.co/datasets/torchgeo/eurosat/resolve/c877bcd43f099cd0196738f714544e355477f3fd/EuroSAT.zip"
MD5 = "c8fa014336c82ac7804f0398fcb19387"  # both as in torchvision's reader, which has them inside a function


class Eurosat(TorchvisionFiles):
    """27,000 satellite images, 64x64, of 10 kinds of land use and cover.

    Source: Helber et al. 2019, EuroSAT: A Novel Dataset and Deep Learning Benchmark for Land Use and Land Cover Classification

    There is no official split: test_fraction of each class is drawn.

    Args:
        path: the folder eurosat that torchvision makes, or the one that holds it; null looks under data_dir.
        test_fraction: share of each class that is the test split.
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        fit: make images square by cutting the centre, by squashing, or by padding with black.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "MIT"
    looked_for = {"path": ("eurosat",)}
    reader = "EuroSAT"
    folder = "eurosat"
    n_classes = 10

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        test_fraction: OpenFraction = 0.2,
        split_seed: Seed = 0,
        image_size: PositiveInt = 64,
        fit: Literal["crop", "squash", "pad"] = "crop",
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        self._test_fraction, self._split_seed = test_fraction, split_seed
        super().__init__(data_dir, cache_dir, path=path, image_size=image_size, fit=fit, storage=storage, memory_gb=memory_gb)

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        return [{}], []

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return reader.samples

    def _divided(self, parts: Sequence[Samples], classes: list[str]) -> tuple[Samples, Samples]:
        return divided(parts[0], classes, self._test_fraction, self._split_seed)

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive."""
        return [Remote((URL,), "eurosat/EuroSAT.zip", MD5, unpack="eurosat")]
