"""Country211."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import WithValidation, archive


class Country211(WithValidation):
    """63,300 photographs by the country they were taken in, 211: of each 150 for training, 50 for validation, 100 for testing.

    Source: Radford et al. 2021, Learning Transferable Visual Models From Natural Language Supervision
    """

    licence = "that of each picture (YFCC100M, Creative Commons)"
    looked_for = {"path": ("country211",)}
    reader = "Country211"
    folder = "country211"
    n_classes = 211
    validation = "valid"

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return reader.samples

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive."""
        return [archive(cls._reader()._URL, "", cls._reader()._MD5)]
