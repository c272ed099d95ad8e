"""Handwritten digits that come with scikit-learn: the data of the default experiment."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._splits import stratified
from hdx.options import OpenFraction, Seed


class Digits(Dataset):
    """1,797 grey 8x8 handwritten digits; ships with scikit-learn, so it needs no files.

    Source: scikit-learn's load_digits, test part of Optical Recognition of Handwritten Digits (Alpaydin and Kaynak 1998)

    The 16 grey levels are scaled to 0..255. The split is stratified and fixed by `split_seed`.

    Args:
        test_fraction: share of each class that is the test split.
        split_seed: which train/test split; not the seed of the run.
    """

    licence = "CC BY 4.0"
    n_classes = 10

    def __init__(
        self, data_dir: Path | None, cache_dir: Path, *, test_fraction: OpenFraction = 0.3, split_seed: Seed = 0
    ) -> None:
        super().__init__(data_dir, cache_dir)
        self.classes = [str(digit) for digit in range(10)]
        decoded = load_or_build(cache_dir, "digits-v1", _read)  # spares the import of scikit-learn next time
        labels = np.array(decoded.facts["labels"], dtype=np.int64)
        train, test = stratified(labels, self.classes, test_fraction, split_seed)
        pixels = Pixels(decoded)
        self.train = InMemory(pixels, train, labels[train])
        self.test = InMemory(pixels, test, labels[test])


def _read() -> Decoded:
    from sklearn.datasets import load_digits

    digits = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]  # [1797, 1, 8, 8]
    return Decoded(images, {"labels": digits.target.tolist()})
