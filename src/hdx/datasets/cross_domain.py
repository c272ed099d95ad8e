"""Two datasets as one: bodies train on the classes of the first and are scored on those of the second."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np

from hdx import registry
from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets._join import Joined
from hdx.datasets._reshaped import Reshaped
from hdx.errors import ConfigError
from hdx.options import PositiveInt, Scoring

SIZED = ("omniglot", "caltech101", "sign_digits")  # datasets that have an image_size of their own


class CrossDomain(Dataset):
    """All classes of a source dataset as base classes, all those of a target dataset as novel ones.

    Source: cross-domain few-shot learning, as in Chen et al. 2019, "A Closer Look at Few-shot Classification"

    Classes are `<dataset>/<class>`. Both datasets have their defaults but for the size of the images; where one has colour, the
    other's grey images get three equal channels. Nothing is inverted: omniglot's ink is black on white.

    Args:
        source: dataset whose classes are the base classes.
        target: dataset whose classes are the novel ones.
        image_size: side in pixels of the images of both.
    """

    licence = "those of the two datasets"
    parts = ("source", "target")

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        source: Literal["omniglot", "caltech101", "sign_digits", "digits"] = "omniglot",
        target: Scoring[Literal["omniglot", "caltech101", "sign_digits", "digits"]] = "caltech101",
        image_size: PositiveInt = 32,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        if source == target:
            raise ConfigError(f"dataset.target: expected another dataset than dataset.source={source}, got {target}")
        names = (source, target)
        parts = [registry.build("dataset", _options(name, image_size), data_dir, cache_dir) for name in names]
        channels = max(part.train.image_shape[0] for part in parts)
        shape = (channels, image_size, image_size)
        n_source = len(parts[0].classes)
        self.classes = [f"{name}/{cls}" for name, part in zip(names, parts) for cls in part.classes]
        self.class_splits = {
            "base": np.arange(n_source),
            "validation": np.zeros(0, np.int64),
            "novel": np.arange(n_source, len(self.classes)),
        }
        self.train, self.test = (
            Joined([_shaped(getattr(part, split), shape, first) for part, first in zip(parts, (0, n_source))])
            for split in ("train", "test")
        )


def _options(name: str, image_size: int) -> dict[str, Any]:
    return {"name": name, "image_size": image_size} if name in SIZED else {"name": name}


def _shaped(images: ImageSet, shape: tuple[int, int, int], first: int) -> ImageSet:
    """The images in `shape`, with labels from `first` on."""
    return images if images.image_shape == shape and not first else Reshaped(images, shape, images.labels + first)
