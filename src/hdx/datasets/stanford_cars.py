"""Stanford Cars."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hdx.datasets._torchvision import TorchvisionFiles


class StanfordCars(TorchvisionFiles):
    """16,185 photographs of 196 models of cars, 8,144 of them for training.

    Source: Krause et al. 2013, 3D Object Representations for Fine-Grained Categorization

    The authors' address is gone, so it is not downloaded. The folder holds cars_train/, cars_test/, devkit/ and
    cars_test_annos_withlabels.mat.
    """

    licence = "for non-commercial research"
    looked_for = {"path": ("stanford_cars",)}
    reader = "StanfordCars"
    folder = "stanford_cars"
    n_classes = 196

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return reader._samples
