"""Counts, sizes and imbalance of a dataset."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from hdx.datasets._base import Dataset, ImageSet
from hdx.datasets._decode import open_image, probes, quiet
from hdx.datasets._tree import Unreadable

PROBES, SEEN = 512, 2048


def stats(dataset: Dataset) -> dict[str, Any]:
    """Plain data: of both splits the images a class, of the train split the sizes of the files and the mean and standard
    deviation of each channel in 0..1, over at most 2,048 images."""
    found: dict[str, Any] = {"classes": len(dataset.classes), "licence": dataset.licence}
    for split in ("train", "test"):
        images: ImageSet = getattr(dataset, split)
        found[split] = {"images": len(images), **_counts(images, dataset)}
    return found | {"image_shape": list(dataset.train.image_shape), **_sizes(dataset.train), **_levels(dataset.train)}


def _counts(images: ImageSet, dataset: Dataset) -> dict[str, Any]:
    counts = np.bincount(images.labels, minlength=len(dataset.classes))
    fewest, most = int(counts.argmin()), int(counts.argmax())
    found: dict[str, Any] = {
        "fewest": [dataset.classes[fewest], int(counts[fewest])],
        "median": float(np.median(counts)),
        "most": [dataset.classes[most], int(counts[most])],
        "imbalance": round(float(counts[most] / counts[fewest]), 2) if counts[fewest] else None,
    }
    if images.domains is not None and dataset.domains is not None:
        of_domain = np.bincount(images.domains, minlength=len(dataset.domains)).tolist()
        found["domains"] = dict(zip(dataset.domains, of_domain))
    if images.targets is not None:
        found["classes_an_image"] = round(float((images.targets > 0).sum(1).mean()), 2)
    return found


def _sizes(images: ImageSet) -> dict[str, Any]:
    """Widths and heights of the files, at most 512 of them; nothing where there are none."""
    if images.names is None or images.files is None:
        return {}
    sizes = []
    with quiet():
        for name in probes(images.names, PROBES):
            try:
                sizes.append(open_image(images.files, name)[0].size)
            except Unreadable:
                continue
    if not sizes:
        return {}
    low, middle, high = np.percentile(np.array(sizes), [0, 50, 100], axis=0).round().astype(int).tolist()
    return {"file_sizes": {"smallest": low, "median": middle, "largest": high, "of": len(sizes)}}


def _levels(images: ImageSet) -> dict[str, Any]:
    rows = np.unique(np.linspace(0, len(images) - 1, min(SEEN, len(images))).astype(np.int64))
    pixels = images.fetch(rows).to(torch.float64) / 255
    mean, deviation = pixels.mean((0, 2, 3)), pixels.std((0, 2, 3), correction=0)
    return {"mean": [round(x, 4) for x in mean.tolist()], "std": [round(x, 4) for x in deviation.tolist()]}
