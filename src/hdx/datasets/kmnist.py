"""Kuzushiji-MNIST: cursive Japanese characters."""

from __future__ import annotations

from hdx.datasets._torchvision import Mnists


class Kmnist(Mnists):
    """70,000 grey 28x28 cursive Japanese characters of 10 kinds, 60,000 of them for training.

    Source: Clanuwat et al. 2018, Deep Learning for Classical Japanese Literature
    """

    licence = "CC BY-SA 4.0"
    looked_for = {"path": ("KMNIST",)}
    reader = "KMNIST"
    folder = "KMNIST"
    n_classes = 10
