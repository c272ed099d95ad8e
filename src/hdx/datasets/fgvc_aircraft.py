"""FGVC-Aircraft."""

from __future__ import annotations

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import WithValidation, archive


class FgvcAircraft(WithValidation):
    """10,000 photographs of 100 variants of aircraft, in three equal parts.

    Source: Maji et al. 2013, Fine-Grained Visual Classification of Aircraft
    """

    licence = "for non-commercial research"
    looked_for = {"path": ("fgvc-aircraft-2013b",)}
    reader = "FGVCAircraft"
    folder = "fgvc-aircraft-2013b"
    n_classes = 100

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive; torchvision has no checksum of it."""
        return [archive(cls._reader()._URL, "")]
