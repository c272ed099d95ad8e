"""No augmentation."""

from __future__ import annotations

from hdx.augments._base import Augmentation, View


class NoAugmentation(Augmentation):
    """Images are seen as they are, or as the older list `trainer.augment` says.

    Source: hdx
    """

    def views(self, size: int) -> tuple[View, ...]:
        """None."""
        return ()
