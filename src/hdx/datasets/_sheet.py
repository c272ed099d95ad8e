"""A contact sheet: some images of every class as one picture."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from hdx.datasets._base import Dataset, ImageSet

GAP, TEXT = 2, 150


def sheet(dataset: Dataset, split: str, labels: Sequence[int], columns: int, side: int = 64) -> Any:
    """A row for each of `labels` with its name and the first `columns` images of the split, as a Pillow image."""
    from PIL import Image, ImageDraw

    images: ImageSet = getattr(dataset, split)
    picture = Image.new("RGB", (TEXT + columns * (side + GAP), len(labels) * (side + GAP)), "white")
    pen = ImageDraw.Draw(picture)
    for row, label in enumerate(labels):
        rows = np.flatnonzero(images.labels == label)
        pen.text((GAP, row * (side + GAP) + side // 3), _fitted(pen, dataset.classes[label]), fill="black")
        pen.text((GAP, row * (side + GAP) + side // 3 + 12), f"{len(rows)} images", fill="grey")
        for column, pixels in enumerate(images.fetch(rows[:columns]).numpy() if len(rows) else ()):
            shown = pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0)
            tile = Image.fromarray(shown).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
            picture.paste(tile, (TEXT + column * (side + GAP), row * (side + GAP)))
    return picture


def _fitted(pen: Any, text: str) -> str:
    """The text as far as it fits beside the images."""
    text = text.encode("latin-1", "replace").decode("latin-1")  # what the built-in font has
    while text and pen.textlength(text) > TEXT - 2 * GAP:
        text = text[:-1]
    return text
