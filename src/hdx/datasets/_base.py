"""The contract of a dataset and of one split of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hdx import digest
from hdx.datasets._download import Remote
from hdx.datasets._tree import Files
from hdx.rules import Rule, only_when

if TYPE_CHECKING:  # so that protocols can be asked about classes without torch
    import torch
    from torch import Tensor


class ImageSet(ABC):
    """One split: images with stable indices 0..N-1 and their labels.

    Attributes:
        labels: [N] int64, indices into `Dataset.classes`.
        image_shape: (C, H, W) of every image this split yields; C is 1 or 3.
        digest: hex digest of the pixels and labels (or of the files they come from); keys the features bank.
        names: [N] '/'-separated file names of the images inside the dataset, where each has a file of its own; else None.
        files: where the files of `names` are read; None where they are not files.
        targets: [N, C] float32, what an image is to be taken for: soft labels that sum to 1, or a 1 for each of several classes;
            None where labels suffice. `labels` then is the class that an image counts for.
        domains: [N] int64, indices into `Dataset.domains`; None where the dataset has none.
    """

    labels: np.ndarray
    image_shape: tuple[int, int, int]
    digest: str
    names: list[str] | None = None
    files: Files | None = None
    targets: np.ndarray | None = None
    domains: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @abstractmethod
    def fetch(self, indices: np.ndarray) -> Tensor:
        """Images [B, C, H, W] uint8 on the CPU for int64 `indices` [B]. Raises: DataError naming an unreadable file."""

    def samples_digest(self, indices: np.ndarray) -> str:
        """Hex digest of the images at `indices` [B], in this order: the same for the same images in a larger set (`Joined`)."""
        return digest.of_json([self.digest, digest.of_arrays(np.asarray(indices, np.int64))])

    def like(self, other: ImageSet) -> None:
        """Take over what is known of the images of `other`, which are those of this split in the same order."""
        self.names, self.files = other.names, other.files
        self.targets, self.domains = other.targets, other.domains

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`; a streamed split reads ahead in worker processes."""
        for part in parts:
            yield self.fetch(part).to(device, non_blocking=True)


class Dataset(ABC):
    """Labelled images. Subclasses take `(data_dir, cache_dir)` and keyword options, and raise DataError when not found.

    Args:
        data_dir: folder that holds the files of datasets, or None where a dataset needs none.
        cache_dir: folder for decoded images; safe to delete.

    Attributes:
        classes: names, in the order of the labels.
        groups: for each class the name of the group it belongs to (omniglot's alphabet), or None.
        domains: names of what images differ by beside their class (photo, sketch; a session of recording), or None.
        class_splits: the published split of the classes, where there is one: `{"base": …, "validation": …, "novel": …}`, int64
            labels each, disjoint, some maybe empty; None leaves the choice to the protocol.
        train, test: the two splits.
        licence: of the data.
        looked_for: by an option that is a path, which files or folders under data_dir stand for it where it is null; the first
            that is there is taken.
        known: name to sha256 of the files behind hdx's own results; with any other content a run has another identity.
        beside: what is read beside a folder of that name.
        parts: options that name other datasets.
        notes: plain data about the files that the run record keeps under "data": what was left out, how levels were scaled.
        n_classes: how many there are whatever the options; 0 where that is to be seen.
    """

    licence: ClassVar[str]
    looked_for: ClassVar[dict[str, tuple[str, ...]]] = {}
    known: ClassVar[dict[str, str]] = {}
    beside: ClassVar[dict[str, tuple[str, ...]]] = {}
    parts: ClassVar[tuple[str, ...]] = ()
    n_classes: ClassVar[int] = 0
    classes: list[str]
    groups: list[str] | None = None
    domains: list[str] | None = None
    class_splits: dict[str, np.ndarray] | None = None
    notes: Mapping[str, Any] = MappingProxyType({})
    train: ImageSet
    test: ImageSet
    rules: ClassVar[tuple[Rule, ...]] = (only_when("memory_gb", storage="auto"),)

    def __init__(self, data_dir: Path | None, cache_dir: Path) -> None:
        self.data_dir = data_dir
        self.cache_dir = cache_dir

    @property
    def called(self) -> str:
        """Its name, for messages and the cache: that of its module."""
        return type(self).__module__.rpartition(".")[2]

    @classmethod
    def remotes(cls) -> list[Remote]:
        """What `hdx data get` downloads; empty where the files have to be got by hand."""
        return []
