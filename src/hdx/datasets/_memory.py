"""A split whose decoded images fit in memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.datasets._base import ImageSet
from hdx.datasets._cache import Decoded, checksum


class Pixels:
    """Decoded images that several splits share, as one tensor on the CPU and, once asked for, one on each CUDA device.

    Args:
        decoded: images [N, C, H, W] uint8 with their checksum.
    """

    def __init__(self, decoded: Decoded) -> None:
        self.cpu = torch.from_numpy(decoded.images)
        self.checksum = decoded.checksum
        self._on: dict[torch.device, Tensor | None] = {}

    def on(self, device: torch.device) -> Tensor | None:
        """The tensor on a CUDA device, or None when it is no such device or a quarter of its free memory is too little."""
        if device.type != "cuda":
            return None
        if device not in self._on:
            free, _ = torch.cuda.mem_get_info(device)
            self._on[device] = self.cpu.to(device) if self.cpu.nbytes <= free // 4 else None
        return self._on[device]


class InMemory(ImageSet):
    """Rows of one uint8 tensor; batches for a CUDA device are gathered there.

    Args:
        pixels: images of which this split is a part.
        rows: [N] which of them, in the order of this split.
        labels: [N].
    """

    def __init__(self, pixels: Pixels, rows: np.ndarray, labels: np.ndarray) -> None:
        if len(rows) != len(labels):
            raise ValueError(f"Expected as many labels as rows, but got {len(labels)} and {len(rows)}")
        self.rows = np.asarray(rows, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        channels, height, width = pixels.cpu.shape[1:]
        self.image_shape = (channels, height, width)
        self.digest = digest.of_json([pixels.checksum, digest.of_arrays(self.rows, self.labels)])
        self._pixels = pixels

    @classmethod
    def of(cls, images: np.ndarray, labels: np.ndarray) -> InMemory:
        """All of `images` [N, C, H, W] uint8 with `labels` [N]."""
        return cls(Pixels(Decoded(images, checksum=checksum(images))), np.arange(len(images)), labels)

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        return self._pixels.cpu[torch.from_numpy(self.rows[indices])]

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`."""
        there = self._pixels.on(device)
        if there is None:
            yield from super().batches(parts, device)
            return
        for part in parts:
            yield there[torch.from_numpy(self.rows[part]).to(device, non_blocking=True)]
