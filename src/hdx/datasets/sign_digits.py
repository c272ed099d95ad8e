"""Photographs of hands that sign the digits 0 to 9."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from hdx.datasets._base import Dataset
from hdx.datasets._decode import Decoder
from hdx.datasets._find import locate
from hdx.datasets._listing import list_classes, top_folder
from hdx.datasets._sets import image_sets
from hdx.datasets._splits import stratified
from hdx.datasets._tree import Files
from hdx.options import FilePath, OpenFraction, PositiveFloat, PositiveInt, Seed, Unhashed


class SignDigits(Dataset):
    """2,062 photographs of hand signs for 0 to 9, colour.

    Source: Sign Language Digits (Arda Mavi and Zeynep Dikle 2017, Ankara Ayranci Anadolu High School)

    The files do not say who is on them, so train and test share people and accuracy is flattering.

    Args:
        path: sign_digits.zip, or a folder of class folders; null looks under data_dir.
        test_fraction: share of each class that is the test split.
        split_seed: which train/test split; not the seed of the run.
        image_size: side in pixels.
        storage: keep decoded images in memory, read them from disk each time, or decide by memory_gb.
        memory_gb: with storage=auto, decoded images of more than this many GB (10^9 bytes) are read from disk.
    """

    licence = "Apache-2.0"
    looked_for = {"path": ("sign_digits.zip", "sign_digits", "Sign-Language-Digits-Dataset/Dataset")}
    known = {"sign_digits.zip": "157f8773a074eea946f63f8e05d003c18a20116dae3b0e73beaee55c100dce4e"}
    n_classes = 10

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        path: FilePath | None = None,
        test_fraction: OpenFraction = 0.25,
        split_seed: Seed = 0,
        image_size: PositiveInt = 64,
        storage: Unhashed[Literal["auto", "memory", "disk"]] = "auto",
        memory_gb: Unhashed[PositiveFloat] = 4.0,
    ) -> None:
        super().__init__(data_dir, cache_dir)
        contents = Files(locate("sign_digits", data_dir, path, self.looked_for["path"])).contents()
        listing = list_classes(contents, unders=[top_folder(contents.images)])
        self.classes = listing.classes
        rows = stratified(listing.labels, listing.classes, test_fraction, split_seed)
        splits = [(part, listing.labels[part]) for part in rows]
        decoder = Decoder(size=image_size, colour="rgb", fit="crop")
        self.train, self.test = image_sets(
            "sign_digits", cache_dir, listing, decoder, splits, storage=storage, memory_gb=memory_gb
        )
