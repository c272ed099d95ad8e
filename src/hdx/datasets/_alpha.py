"""Transparency: what shows through is the background, and never the colour that a file keeps under it."""

from __future__ import annotations

from typing import Any

import numpy as np

BACKGROUNDS = {"white": 255, "grey": 128, "black": 0}


def opaque(image: Any, data: bytes, background: int) -> Any:
    """An 8-bit image without transparency: the same one, or another composited on a grey level.

    Args:
        image: decoded, in any mode of Pillow's with 8 bits a sample.
        data: the file.
        background: grey level behind it.
    """
    from PIL import Image

    if image.mode == "La":
        image = image.convert("LA")
    if image.mode in ("LA", "PA", "RGBA", "RGBa") or (image.mode == "P" and "transparency" in image.info):
        rgba = np.asarray(image.convert("RGBA"))
        return Image.fromarray(over(rgba[..., :3], rgba[..., 3], background))
    if "transparency" not in image.info or image.mode not in ("1", "L", "RGB"):
        return image
    clear, plain = image.info["transparency"], image.convert("RGB") if image.mode == "RGB" else image.convert("L")
    levels = np.asarray(plain)
    hidden = (levels == np.array(clear)).all(-1) if image.mode == "RGB" else levels == _grey(image, data, int(clear))
    return Image.fromarray(over(levels, np.where(hidden, 0, 255).astype(np.uint8), background))


def over(levels: np.ndarray, alpha: np.ndarray | None, background: int) -> np.ndarray:
    """Levels [H, W] or [H, W, 3] uint8 on a grey level, by alpha [H, W] uint8; None is opaque."""
    if alpha is None:
        return levels
    share = alpha.astype(np.uint16)[..., None] if levels.ndim == 3 else alpha.astype(np.uint16)
    return ((levels * share + background * (255 - share) + 127) // 255).astype(np.uint8)


def _grey(image: Any, data: bytes, clear: int) -> int:
    """The transparent level as Pillow shows it: a PNG of 1, 2 or 4 bits names it in its own levels."""
    if image.mode == "1":
        return 255 if clear else 0
    depth = data[24] if data[:4] == b"\x89PNG" else 8
    return clear * 255 // (2**depth - 1) if depth < 8 else clear
