"""Several splits as one."""

from __future__ import annotations

from collections.abc import Sequence

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
        self.sets = list(sets)
        self.starts = np.cumsum([0, *(len(each) for each in sets)])
        self.labels = np.concatenate([each.labels for each in sets]) if labels is None else labels
        self.image_shape = sets[0].image_shape
        self.digest = digest.of_json([*(each.digest for each in sets), digest.of_arrays(self.labels)])

    def fetch(self, indices: np.ndarray) -> Tensor:
        """[B, C, H, W] uint8 on the CPU."""
        images = torch.empty(len(indices), *self.image_shape, dtype=torch.uint8)
        for each, start in zip(self.sets, self.starts):
            mine = np.flatnonzero((indices >= start) & (indices < start + len(each)))
            if len(mine):
                images[torch.from_numpy(mine)] = each.fetch(indices[mine] - start)
        return images
