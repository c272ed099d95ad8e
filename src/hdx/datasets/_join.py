"""Several splits as one."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from itertools import tee

import numpy as np
import torch
from torch import Tensor

from hdx import digest
from hdx.datasets._base import ImageSet


class Joined(ImageSet):
    """The images of several splits one after the other; all of one shape.

    Args:
        sets: the splits.
        labels: [sum of lengths] int64; None takes their own.
    """

    def __init__(self, sets: Sequence[ImageSet], labels: np.ndarray | None = None) -> None:
        shapes = {each.image_shape for each in sets}
        if len(shapes) != 1:
            raise ValueError(f"Expected splits with images of one shape, but got {sorted(shapes)}")
        n_images = sum(len(each) for each in sets)
        if labels is not None and len(labels) != n_images:
            raise ValueError(f"Expected a label for each of {n_images} images, but got {len(labels)}")
        self.sets = list(sets)
        self.starts = np.cumsum([0, *(len(each) for each in sets)])
        self.labels = np.concatenate([each.labels for each in sets]) if labels is None else labels
        self.image_shape = sets[0].image_shape
        self.targets = _all([each.targets for each in sets]) if labels is None else None
        self.domains = _all([each.domains for each in sets])
        self.digest = digest.of_json([*(each.digest for each in sets), digest.of_arrays(self.labels)])

    def samples_digest(self, indices: np.ndarray) -> str:
        """Of the members that hold the images, so that what else is joined to them does not matter."""
        member = self._member(indices)
        used = np.unique(member)
        parts = [self.sets[k].samples_digest(indices[member == k] - self.starts[k]) for k in used]
        return digest.of_json([parts, digest.of_arrays(np.searchsorted(used, member))])

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        member = self._member(indices)
        images = torch.empty(len(indices), *self.image_shape, dtype=torch.uint8)
        for k in np.unique(member):
            mine = np.flatnonzero(member == k)
            images[torch.from_numpy(mine)] = self.sets[k].fetch(indices[mine] - self.starts[k])
        return images

    def batches(self, parts: Iterable[np.ndarray], device: torch.device) -> Iterator[Tensor]:
        """Images of each index array in turn, on `device`; every split reads in its own way, ahead where it does so."""
        mine, *theirs = tee(parts, 1 + len(self.sets))
        with ExitStack() as closed:
            images = [
                closed.enter_context(closing(_reading(each, self._parts_of(k, theirs[k]), device)))
                for k, each in enumerate(self.sets)
            ]
            for part in mine:
                yield self._put_together(self._member(part), images, device)

    def _member(self, indices: np.ndarray) -> np.ndarray:
        """Which split each of the images is in."""
        return np.searchsorted(self.starts[1:], indices, side="right")

    def _parts_of(self, k: int, parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        for part in parts:
            mine = part[self._member(part) == k]
            if len(mine):
                yield mine - self.starts[k]

    def _put_together(self, member: np.ndarray, images: Sequence[Iterator[Tensor]], device: torch.device) -> Tensor:
        used = np.unique(member)
        if len(used) == 1:
            return next(images[used[0]])
        batch = torch.empty(len(member), *self.image_shape, dtype=torch.uint8, device=device)
        for k in used:
            batch[torch.from_numpy(np.flatnonzero(member == k)).to(device)] = next(images[k])
        return batch


def _all(parts: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """The parts as one; None where a split has none."""
    given = [part for part in parts if part is not None]
    return np.concatenate(given) if len(given) == len(parts) else None


def _reading(images: ImageSet, parts: Iterable[np.ndarray], device: torch.device) -> Generator[Tensor, None, None]:
    """`images.batches` as something that can be closed."""
    yield from images.batches(parts, device)
