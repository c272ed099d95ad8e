"""MNIST: handwritten digits."""

from __future__ import annotations

from hdx.datasets._torchvision import Mnists


class Mnist(Mnists):
    """70,000 grey 28x28 handwritten digits, 60,000 of them for training.

    Source: LeCun et al. 1998, Gradient-based learning applied to document recognition
    """

    licence = "CC BY-SA 3.0"
    looked_for = {"path": ("MNIST",)}
    reader = "MNIST"
    folder = "MNIST"
    n_classes = 10
