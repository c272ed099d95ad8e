"""ImageNet-R."""

from __future__ import annotations

from hdx.datasets._given import DrawnSplit


class ImageNetR(DrawnSplit):
    """30,000 renditions (art, cartoons, toys, …) of 200 classes of ImageNet.

    Source: Hendrycks et al. 2021, The Many Faces of Robustness

    Classes are called by their WordNet ids. The authors have test images alone; for training on them, as class-incremental
    learning does, test_fraction of each class is drawn.
    """

    licence = "that of each picture"
    looked_for = {"path": ("imagenet-r", "imagenet_r", "imagenet-r.zip")}
    n_classes = 200
