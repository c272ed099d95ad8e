"""ImageNet-A."""

from __future__ import annotations

from hdx.datasets._given import DrawnSplit


class ImageNetA(DrawnSplit):
    """7,500 photographs of 200 classes of ImageNet that a ResNet-50 gets wrong.

    Source: Hendrycks et al. 2021, Natural Adversarial Examples

    Classes are called by their WordNet ids. The authors have test images alone; for training on them, as class-incremental
    learning does, test_fraction of each class is drawn.
    """

    licence = "that of each picture"
    looked_for = {"path": ("imagenet-a", "imagenet_a", "imagenet-a.zip")}
    n_classes = 200
