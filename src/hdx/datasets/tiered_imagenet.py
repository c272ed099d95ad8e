"""tieredImageNet."""

from __future__ import annotations

from hdx.datasets._few_shot import SplitClasses


class TieredImageNet(SplitClasses):
    """779,165 photographs of 608 classes of ImageNet: 351 base, 97 validation and 160 novel ones, of other super-classes.

    Source: Ren et al. 2018, Meta-Learning for Semi-Supervised Few-Shot Classification

    The folder holds train/, val/ and test/ with a folder a class, or images/ beside train.csv, val.csv and test.csv.
    """

    licence = "that of ImageNet, for non-commercial research"
    looked_for = {"path": ("tiered_imagenet", "tieredImageNet", "tiered-imagenet", "tiered_imagenet.zip")}
    n_classes = 608
