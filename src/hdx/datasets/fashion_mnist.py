"""Fashion-MNIST: clothes."""

from __future__ import annotations

from hdx.datasets._torchvision import Mnists


class FashionMnist(Mnists):
    """70,000 grey 28x28 pictures of clothes of 10 kinds, 60,000 of them for training.

    Source: Xiao, Rasul and Vollgraf 2017, Fashion-MNIST
    """

    licence = "MIT"
    looked_for = {"path": ("FashionMNIST",)}
    reader = "FashionMNIST"
    folder = "FashionMNIST"
    n_classes = 10
