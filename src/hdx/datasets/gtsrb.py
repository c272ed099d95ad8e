"""GTSRB: German traffic signs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from hdx.datasets._download import Remote
from hdx.datasets._torchvision import TorchvisionFiles, archive

URL = "https://sid.erda.dk/public/archives/daaeac0d7ce1152aea9b61d9f1e19370/"
FILES = (
    ("GTSRB-Training_fixed.zip", "513f3c79a4c5141765e10e952eaa2478"),
    ("GTSRB_Final_Test_Images.zip", "c7e4e6327067d32654124b0fe9e82185"),
    ("GTSRB_Final_Test_GT.zip", "fe31e9c9270bbcd7b84b7f21a9d9d9e5"),
)


class Gtsrb(TorchvisionFiles):
    """39,270 cut-out photographs of 43 German traffic signs, 26,640 of them for training.

    Source: Stallkamp et al. 2012, Man vs. computer: Benchmarking machine learning algorithms for traffic sign recognition
    """

    licence = "not stated by the authors"
    looked_for = {"path": ("gtsrb",)}
    reader = "GTSRB"
    folder = "gtsrb"
    n_classes = 43

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return reader._samples

    def _classes(self, reader: Any) -> list[str]:
        return [f"{number:05d}" for number in range(43)]  # as the folders are called; the authors give no names

    @classmethod
    def remotes(cls) -> list[Remote]:
        """Training images, test images and their labels; checksums are those inside torchvision's reader."""
        return [archive(f"{URL}{name}", "gtsrb", md5) for name, md5 in FILES]
