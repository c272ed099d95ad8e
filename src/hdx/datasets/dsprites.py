"""dSprites: shapes drawn from six factors."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from hdx import content
from hdx.datasets._base import Dataset
from hdx.datasets._cache import Decoded, load_or_build
from hdx.datasets._find import locate
from hdx.datasets._memory import InMemory, Pixels
from hdx.datasets._splits import stratified
from hdx.errors import DataError
from hdx.options import FilePath, OpenFraction, Seed
from hdx.seeds import stream

FILE = "dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz"
FACTORS = ("colour", "shape", "scale", "orientation", "x", "y")  # columns of the file's latents_classes


class DSprites(Dataset):
    """737,280 black and white 64x64 pictures of a square, ellipse or heart in 6 scales, 40 orientations and 32 x 32 places.

    Source: Matthey et al. 2017, dSprites: Disentanglement testing Sprites dataset

    VTAB's tasks are label=x with bins=16 and label=orientation with bins=16.

    Args:
        path: the .npz, or the folder that holds it; null looks under data_dir.
        label: the factor that is the class.
        bins: classes that the values of the factor are put together to, in order; null takes each value.
        images: how many are drawn; null takes all.
        test_fraction: share of each class that is the test split.
        split_seed: which images and which train/test split; not the seed of the run.
    """

    licence = "Apache-2.0"
    looked_for = {"path": ("dsprites_ndarray_co1sh3sc6or40x32y32_64x64.npz", "dsprites")}

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        label: Literal["shape", "scale", "orientation", "x", "y"] = "shape",
        bins: int | None = None,
        images: int | None = 20_000,
        test_fraction: OpenFraction = 0.2,
        split_seed: Seed = 0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        place = locate("dsprites", data_dir, path, self.looked_for["path"])
        file = place / FILE if place.is_dir() else place
        key = f"dsprites-{content.of(file)[:24]}"
        decoded = load_or_build(cache_dir, key, lambda: _read(file))
        values = np.array(decoded.facts["latents"], np.int64)[:, FACTORS.index(label)]
        n_values = int(values.max()) + 1
        if bins is not None and not 2 <= bins <= n_values:
            raise DataError(f"dataset.bins: expected 2 to {n_values} (values of {label}), got {bins}")
        labels = values if bins is None else values * bins // n_values
        self.classes = [f"{label} {i}" for i in range(n_values if bins is None else bins)]
        chosen = np.arange(len(labels))
        if images is not None and images < len(labels):
            chosen = np.sort(stream(split_seed, "images").permutation(len(labels))[:images])
        train, test = (chosen[rows] for rows in stratified(labels[chosen], self.classes, test_fraction, split_seed))
        pixels = Pixels(decoded)
        self.train, self.test = InMemory(pixels, train, labels[train]), InMemory(pixels, test, labels[test])


def _read(file: Path) -> Decoded:
    """Raises: DataError where it is not the published archive."""
    try:
        with np.load(file, allow_pickle=False) as archive:
            pixels, latents = archive["imgs"], archive["latents_classes"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{file} is not dSprites as published: {' '.join(str(error).split())}. Get {FILE} again") from error
    if pixels.ndim != 3 or latents.shape != (len(pixels), len(FACTORS)):
        raise DataError(f"{file} has images {list(pixels.shape)} and factors {list(latents.shape)}. Get {FILE} again")
    return Decoded(pixels[:, None].astype(np.uint8) * 255, {"latents": latents.tolist()})
