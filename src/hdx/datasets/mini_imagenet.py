"""miniImageNet."""

from __future__ import annotations

from hdx.datasets._few_shot import SplitClasses


class MiniImageNet(SplitClasses):
    """60,000 photographs of 100 classes of ImageNet: 64 base, 16 validation and 20 novel ones.

    Source: Vinyals et al. 2016, Matching Networks for One Shot Learning; split of Ravi and Larochelle 2017

    The folder holds images/ beside train.csv, val.csv and test.csv (filename, label), or train/, val/ and test/ with a folder a
    class.
    """

    licence = "that of ImageNet, for non-commercial research"
    looked_for = {"path": ("mini_imagenet", "miniImageNet", "mini-imagenet", "mini_imagenet.zip")}
    n_classes = 100
