"""Oxford-IIIT Pets."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import Arguments, TorchvisionFiles, archive


class OxfordPets(TorchvisionFiles):
    """7,349 photographs of 37 breeds of cats and dogs, 3,680 of them for training.

    Source: Parkhi et al. 2012, Cats and Dogs
    """

    licence = "CC BY-SA 4.0"
    looked_for = {"path": ("oxford-iiit-pet",)}
    reader = "OxfordIIITPet"
    folder = "oxford-iiit-pet"
    n_classes = 37

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        return [{"split": "trainval"}], [{"split": "test"}]

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return zip(reader._images, reader._labels)

    @classmethod
    def remotes(cls) -> list[Remote]:
        """Images and annotations."""
        return [archive(url, "oxford-iiit-pet", md5) for url, md5 in cls._reader()._RESOURCES]
