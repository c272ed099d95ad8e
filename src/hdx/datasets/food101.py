"""Food-101."""

from __future__ import annotations

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import TorchvisionFiles, archive


class Food101(TorchvisionFiles):
    """101,000 photographs of 101 dishes, 75,750 of them for training, whose labels are partly wrong.

    Source: Bossard, Guillaumin and Van Gool 2014, Food-101: Mining Discriminative Components with Random Forests
    """

    licence = "not stated by the authors; pictures of foodspotting.com"
    looked_for = {"path": ("food-101",)}
    reader = "Food101"
    folder = "food-101"
    n_classes = 101

    @classmethod
    def remotes(cls) -> list[Remote]:
        """One archive."""
        return [archive(cls._reader()._URL, "", cls._reader()._MD5)]
