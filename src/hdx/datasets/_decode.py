"""From the bytes of image files to uint8 arrays of one shape. No torch here: worker processes start on this module."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from hdx.datasets._tree import Files
from hdx.errors import DataError

MAX_PIXELS = 100_000_000
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")


@dataclass(frozen=True)
class Decoder:
    """Bytes of an image file to [C, size, size] uint8.

    EXIF orientation is honoured, 16-bit grey is scaled to 8 bits, of an animation the first frame is taken,
    resampling is bicubic with antialiasing (Pillow).

    Args:
        size: side in pixels.
        colour: "rgb" (C = 3) or "grey" (C = 1, ITU-R 601-2 luma).
        fit: "crop" keeps the largest centre square, "squash" ignores the aspect, "pad" adds black borders.
    """

    size: int
    colour: Literal["rgb", "grey"]
    fit: Literal["crop", "squash", "pad"]

    VERSION = 1

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what comes out."""
        return (3 if self.colour == "rgb" else 1, self.size, self.size)

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the cache's key."""
        return {"version": self.VERSION, **asdict(self)}

    def read(self, files: Files, name: str) -> np.ndarray:
        """[C, size, size] of one file. Raises: DataError naming a file that is no image, is damaged or is too large."""
        image = _open(files, name)
        try:
            image.draft(None, (2 * self.size, 2 * self.size))  # large JPEGs decode at half, quarter … scale
            return self._fit(image)
        except Exception as error:  # Pillow's plugins raise whatever they like on damaged files
            raise DataError(f"cannot decode image '{name}' in {files.path}: {error}. Replace or remove the file") from error

    def _fit(self, image: Any) -> np.ndarray:
        from PIL import Image, ImageOps

        image = _eight_bits(ImageOps.exif_transpose(image)).convert("RGB" if self.colour == "rgb" else "L")
        target = (self.size, self.size)
        if image.size != target:
            fits: dict[str, Callable[..., Any]] = {"crop": ImageOps.fit, "squash": Image.Image.resize, "pad": ImageOps.pad}
            image = fits[self.fit](image, target, Image.Resampling.BICUBIC)
        pixels = np.asarray(image)  # [H, W] or [H, W, 3]
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def _open(files: Files, name: str) -> Any:
    """The opened, not yet decoded image; the header's size is checked before any pixel is made."""
    from PIL import Image

    data = files.read(name)
    try:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise DataError(f"image '{name}' in {files.path} is too large: {error}. Remove the file") from error
    except Exception as error:
        raise DataError(f"'{name}' in {files.path} is not a readable image: {error}. Replace or remove the file") from error
    if width * height > MAX_PIXELS:
        size = f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} Mpixel"
        raise DataError(f"image '{name}' in {files.path} is too large: {size}. Shrink or remove the file")
    return image


def _eight_bits(image: Any) -> Any:
    """Scale 16-bit grey to 8 bits; Pillow's own conversion clips it to white."""
    from PIL import Image

    if not image.mode.startswith("I"):
        return image
    levels = np.asarray(image).astype(np.int64)
    if image.mode != "I" or levels.max(initial=0) > 255:  # "I" is how older Pillows open a 16-bit PNG
        levels = levels >> 8
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def all_grey(files: Files, names: Sequence[str], n_probes: int = 256) -> bool:
    """Whether none of `n_probes` evenly spaced images is stored in colour; only headers are parsed."""
    for i in sorted(set(np.linspace(0, len(names) - 1, num=min(n_probes, len(names))).astype(int).tolist())):
        if _open(files, names[i]).mode not in GREY_MODES:
            return False
    return True


def decode(files: Files, names: Sequence[str], decoder: Decoder, threads: int = 1) -> np.ndarray:
    """[len(names), C, size, size] uint8. Raises: DataError naming the first unreadable file."""
    images = np.empty((len(names), *decoder.shape), dtype=np.uint8)

    def decode_span(start: int) -> None:
        for i in range(start, min(start + 64, len(names))):
            images[i] = decoder.read(files, names[i])

    spans = range(0, len(names), 64)
    if threads <= 1 or len(spans) <= 1:
        for start in spans:
            decode_span(start)
        return images
    with ThreadPoolExecutor(threads) as pool:  # Pillow and zlib release the GIL
        try:
            list(pool.map(decode_span, spans))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return images


def n_cores() -> int:
    """Cores this process may use, shared with the other ranks on the machine; at most 8."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(8, cores // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))))
