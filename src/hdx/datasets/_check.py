"""What is wrong with a dataset: files that cannot be read, labels, and pictures that are in the train and the test split."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets._phash import hashes, near

BATCH = 512
THUMB = 16
ALIKE = 0.97  # correlation of two thumbnails whose hashes are near, from which they show the same


@dataclass(frozen=True)
class Twin:
    """A picture of the test split that is in the train split as well.

    Attributes:
        test, train: indices.
        bits: of 64 by which their perceptual hashes differ; None where they are equal pixel for pixel.
    """

    test: int
    train: int
    bits: int | None


def twins(dataset: Dataset) -> list[Twin]:
    """Pictures of the test split that are in the train split, equal ones and those that show the same.

    A near one is found by the hash and confirmed by the correlation of thumbnails; pictures of one colour count for nothing.
    """
    train, test = (_Seen(images) for images in (dataset.train, dataset.test))
    first = {digest: i for i, digest in reversed(list(enumerate(train.digests))) if train.hashes[i]}
    found = {i: Twin(i, first[digest], None) for i, digest in enumerate(test.digests) if digest in first}
    for i, j, bits in near(test.hashes, train.hashes):
        if i not in found and float(test.thumbs[i] @ train.thumbs[j]) >= ALIKE:
            found[i] = Twin(i, j, bits)
    return [found[i] for i in sorted(found)]


class _Seen:
    """Hash, digest of the pixels and thumbnail of every image of a split."""

    def __init__(self, images: ImageSet) -> None:
        parts = np.split(np.arange(len(images)), range(BATCH, len(images), BATCH))
        self.digests: list[bytes] = []
        found, thumbs = [], []
        for batch in images.batches(iter(parts), torch.device("cpu")):
            pixels = batch.numpy()
            self.digests += [hashlib.blake2b(image.tobytes(), digest_size=16).digest() for image in pixels]
            found.append(hashes(pixels))
            thumbs.append(_thumbs(batch))
        self.hashes, self.thumbs = np.concatenate(found), np.concatenate(thumbs)


def _thumbs(images: torch.Tensor) -> np.ndarray:
    """[N, 256] float32: small grey pictures without their mean, of length 1."""
    small = torch.nn.functional.adaptive_avg_pool2d(images.float().mean(1, keepdim=True), THUMB).flatten(1)
    small = small - small.mean(1, keepdim=True)
    return torch.nn.functional.normalize(small, dim=1).numpy()


def label_faults(dataset: Dataset) -> Iterator[str]:
    """Lines about labels that no class has, and classes without images in a split."""
    n_classes = len(dataset.classes)
    for split in ("train", "test"):
        images: ImageSet = getattr(dataset, split)
        wrong = np.flatnonzero((images.labels < 0) | (images.labels >= n_classes))
        if len(wrong):
            name = shown(images, int(wrong[0]))
            label = images.labels[wrong[0]]
            yield f"{split}: {len(wrong)} labels are none of 0 to {n_classes - 1} (first: {name} has {label})"
        counts = np.bincount(images.labels[(images.labels >= 0) & (images.labels < n_classes)], minlength=n_classes)
        if empty := [dataset.classes[i] for i in np.flatnonzero(counts == 0)]:
            yield f"{split}: {len(empty)} classes have no image (first: {empty[0]})"


def shown(images: ImageSet, index: int) -> str:
    """What an image is called in a message: its file, or its index where it has none."""
    return f"image {index}" if images.names is None else f"'{images.names[index]}'"
