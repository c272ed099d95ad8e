"""A dataset whose images are corrupted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from hdx.datasets._corrupt import Corrupted as CorruptedSplit
from hdx.datasets._derived import Derived
from hdx.options import Seed
from hdx.rules import only_when


class Corrupted(Derived):
    """Another dataset whose test images, or all, are corrupted.

    Source: Hendrycks and Dietterich 2019, Benchmarking Neural Network Robustness to Common Corruptions and Perturbations

    Args:
        of: the dataset, as `{name: cifar10}`.
        kind: what is done to an image; inversion (255 - x) is hdx's own.
        severity: how much of it, as the authors number it.
        splits: whether training images are corrupted too.
        seed: of the noise; not the seed of the run.
    """

    rules = (only_when("severity", kind=("noise", "contrast", "brightness")),)

    def __init__(
        self,
        data_dir: Path | None,
        cache_dir: Path,
        *,
        of: dict[str, Any] | None = None,
        kind: Literal["noise", "contrast", "brightness", "inversion"] = "noise",
        severity: Annotated[int, "[1, 5]"] = 3,
        splits: Literal["test", "both"] = "test",
        seed: Seed = 0,
    ) -> None:
        super().__init__(data_dir, cache_dir, of)
        self.test = CorruptedSplit(self.base.test, kind, 2 * seed + 1, severity)
        if splits == "both":
            self.train = CorruptedSplit(self.base.train, kind, 2 * seed, severity)
