"""ImageNet-1k (ILSVRC 2012)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from hdx.datasets._torchvision import Arguments, TorchvisionFiles
from hdx.errors import DataError


class ImageNet(TorchvisionFiles):
    """1.28 million photographs of 1,000 classes for training, and 50,000 for validation, here the test split.

    Source: Russakovsky et al. 2015, ImageNet Large Scale Visual Recognition Challenge

    The folder holds train/<wnid>/ and val/<wnid>/, as torchvision unpacks the archives. Where its meta.bin lies beside them
    classes have names, else they are called by their WordNet ids; the order is the same.
    """

    licence = "for non-commercial research"
    looked_for = {"path": ("imagenet", "ImageNet", "ILSVRC2012", "imagenet1k")}
    reader = "ImageFolder"
    n_classes = 1000

    def _arguments(self) -> tuple[Sequence[Arguments], Sequence[Arguments]]:
        return [{"split": "train"}], [{"split": "val"}]

    def _open(self, root: Path, arguments: Arguments) -> Any:
        split = arguments["split"]
        if not (root / split).is_dir():
            advice = "Let torchvision.datasets.ImageNet unpack the archives, or give dataset.path"
            raise DataError(f"dataset imagenet: {root} holds no {split}/ with a folder a class. {advice}")
        return super()._open(root / split, {})

    def _samples(self, reader: Any) -> Iterable[tuple[Any, int]]:
        return reader.samples

    def _classes(self, reader: Any) -> list[str]:
        names = _names(Path(reader.root).parent)
        return [names.get(wnid, wnid) for wnid in reader.classes]


def _names(root: Path) -> dict[str, str]:
    """The first word that torchvision's meta.bin has for each WordNet id; classes of one name are told apart by their ids."""
    from torchvision.datasets.imagenet import META_FILE, load_meta_file

    if not (root / META_FILE).is_file():
        return {}
    words = {wnid: names[0] for wnid, names in load_meta_file(str(root))[0].items()}
    many = list(words.values())
    return {wnid: word if many.count(word) == 1 else f"{word} ({wnid})" for wnid, word in words.items()}
