"""Names of the training augmentations, apart from their implementation so that a config is checked without torch."""

from __future__ import annotations

from typing import Literal, get_args

AugmentationName = Literal["hflip", "vflip", "crop", "resized_crop", "rotate", "jitter"]
AUGMENTATIONS: tuple[str, ...] = get_args(AugmentationName)
