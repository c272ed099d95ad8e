"""A split that is decoded from disk whenever it is read, by worker processes that read ahead."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.datasets._base import ImageSet
from hdx.datasets._decode import Decoder, decode, n_cores
from hdx.datasets._listing import Listing
from hdx.datasets._worker import forget_workers, workers
from hdx.errors import DataError


class Streamed(ImageSet):
    """Rows of a listing of image files, decoded at every read.

    Args:
        listing: the files.
        decoder: how one becomes an array.
        rows: [N] which files, in the order of this split.
        labels: [N].
    """

    def __init__(self, listing: Listing, decoder: Decoder, rows: np.ndarray, labels: np.ndarray) -> None:
        self.rows = np.asarray(rows, dtype=np.int64)
        self.labels = np.asarray(labels, dtype=np.int64)
        self.image_shape = decoder.shape
        files = digest.of_arrays(self.rows, self.labels)
        self.digest = digest.of_json([listing.identity, decoder.describe(), files])
        self._listing = listing
        self._decoder = decoder

    def _names(self, indices: np.ndarray) -> list[str]:
        return [self._listing.names[row] for row in self.rows[indices]]

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU, decoded here. Raises: DataError naming an unreadable file."""
        return torch.from_numpy(decode(self._listing.files, self._names(indices), self._decoder, n_cores()))

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`; twice as many parts as workers are under way at any time.

        Raises: DataError naming an unreadable file, or saying that a worker process died.
        """
        parts = iter(parts)
        ahead: deque[Future[np.ndarray]] = deque()
        try:
            ahead.extend(map(self._submit, islice(parts, 2 * n_cores())))
            while ahead:
                images = torch.from_numpy(ahead.popleft().result())
                ahead.extend(map(self._submit, islice(parts, 1)))
                yield (images.pin_memory() if device.type == "cuda" else images).to(device, non_blocking=True)
        except BrokenProcessPool as error:
            forget_workers()
            advice = "often too little memory: use smaller batches or fewer processes"
            raise DataError(f"a process that reads {self._listing.files.path} died ({advice})") from error
        finally:
            for future in ahead:
                future.cancel()

    def _submit(self, part: np.ndarray) -> Future[np.ndarray]:
        return workers().submit(decode, self._listing.files, self._names(part), self._decoder)
