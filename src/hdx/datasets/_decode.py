"""From the bytes of image files to uint8 arrays of one shape. No torch here: worker processes start on this module."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from hdx.datasets._alpha import BACKGROUNDS, opaque, over
from hdx.datasets._kinds import printable
from hdx.datasets._levels import NoRange, Ranges, is_deep, levels_of
from hdx.datasets._tree import Files, Unreadable
from hdx.errors import DataError
from hdx.hardware import cores

MAX_PIXELS = 100_000_000
GREY_MODES = ("1", "L", "LA", "I", "I;16", "I;16B", "I;16L", "F")


class Unranged(Unreadable):
    """An image whose levels are in no range that is known."""


@dataclass(frozen=True)
class Decoder:
    """Bytes of an image file to [C, size, size] uint8.

    EXIF orientation is honoured, what is transparent shows the background, of an animation the first frame is taken,
    resampling is bicubic with antialiasing (Pillow). Levels of more than 8 bits and floats are scaled by the range that the
    file states, else by `ranges`.

    Args:
        size: side in pixels.
        colour: "rgb" (C = 3) or "grey" (C = 1, ITU-R 601-2 luma).
        fit: "crop" keeps the largest centre square, "squash" ignores the aspect, "pad" adds black borders.
        background: what lies behind transparent pixels.
        ranges: of the set that the images are from.
    """

    size: int
    colour: Literal["rgb", "grey"]
    fit: Literal["crop", "squash", "pad"]
    background: Literal["white", "grey", "black"] = "white"
    ranges: Ranges = Ranges()

    VERSION = 2

    @property
    def shape(self) -> tuple[int, int, int]:
        """(C, H, W) of what comes out."""
        return (3 if self.colour == "rgb" else 1, self.size, self.size)

    def describe(self) -> dict[str, Any]:
        """Every value that changes the pixels, as plain data for the cache's key."""
        return {"version": self.VERSION, **asdict(self)}

    def read(self, files: Files, name: str) -> np.ndarray:
        """[C, size, size] of one file. Raises: Unreadable naming a file that is no image, is damaged or is too large."""
        image, data = open_image(files, name)
        try:
            return self._fit(self._eight_bits(image, data))
        except Exception as error:  # Pillow's plugins raise whatever they like on damaged files
            kind = Unranged if isinstance(error, NoRange) else Unreadable
            where = f"'{printable(name)}' in {files.path}"
            raise kind(f"cannot decode image {where}: {error}. Replace or remove the file", str(error)) from error

    def _eight_bits(self, image: Any, data: bytes) -> Any:
        """The whole image upright, with 8 bits a sample and nothing transparent."""
        from PIL import Image, ImageOps

        if is_deep(image):
            levels = levels_of(image, data)
            return Image.fromarray(over(levels.eight_bits(self.ranges), levels.alpha, BACKGROUNDS[self.background]))
        image.draft(None, (2 * self.size, 2 * self.size))  # large JPEGs decode at half, quarter … scale
        return opaque(ImageOps.exif_transpose(image), data, BACKGROUNDS[self.background])

    def _fit(self, image: Any) -> np.ndarray:
        from PIL import Image, ImageOps

        image = image.convert("RGB" if self.colour == "rgb" else "L")
        target = (self.size, self.size)
        if image.size != target:
            fits: dict[str, Callable[..., Any]] = {"crop": ImageOps.fit, "squash": Image.Image.resize, "pad": ImageOps.pad}
            image = fits[self.fit](image, target, Image.Resampling.BICUBIC)
        pixels = np.asarray(image)  # [H, W] or [H, W, 3]
        return pixels[None] if pixels.ndim == 2 else pixels.transpose(2, 0, 1)


def open_image(files: Files, name: str) -> tuple[Any, bytes]:
    """The opened, not yet decoded image and its bytes; the header's size is checked before any pixel is made."""
    from PIL import Image, UnidentifiedImageError

    data, where = files.read(name), f"'{printable(name)}' in {files.path}"
    try:
        image = Image.open(io.BytesIO(data))
        width, height = image.size
    except Image.DecompressionBombError as error:
        raise Unreadable(f"image {where} is too large: {error}. Remove the file", "is too large") from error
    except Exception as error:
        reason = str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "is no image that Pillow knows" if data else "is empty"
        raise Unreadable(f"{where} is not a readable image: {reason}. Replace or remove the file", reason) from error
    if width * height > MAX_PIXELS:
        size = f"{width} x {height} pixels, more than {MAX_PIXELS // 10**6} Mpixel"
        raise Unreadable(f"image {where} is too large: {size}. Shrink or remove the file", f"has {size}")
    return image, data


@contextmanager
def quiet() -> Iterator[list[str]]:
    """Pillow's warnings end nothing and are not printed; the list has their texts, but for those about large images."""
    from PIL import Image

    texts: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield texts
    texts += [str(each.message) for each in caught if not issubclass(each.category, Image.DecompressionBombWarning)]


def probes(names: Sequence[str], n_probes: int = 256) -> list[str]:
    """At most `n_probes` evenly spaced names."""
    rows = np.linspace(0, len(names) - 1, num=min(n_probes, len(names))).astype(int)
    return [names[i] for i in sorted(set(rows.tolist()))]


def all_grey(files: Files, names: Sequence[str]) -> bool:
    """Whether none of 256 evenly spaced images is stored in colour; only headers are parsed. What is unreadable says nothing."""
    modes = set()
    with quiet():
        for name in probes(names):
            try:
                modes.add(open_image(files, name)[0].mode)
            except Unreadable:
                continue
    return bool(modes) and modes <= set(GREY_MODES)


def attempt(
    files: Files, names: Sequence[str], decoder: Decoder, threads: int = 1, warned: list[str] | None = None
) -> tuple[np.ndarray, dict[int, Unreadable]]:
    """[len(names), C, size, size] uint8, and for the rows that are not readable why.

    Args:
        warned: where the texts of Pillow's warnings go.
    """
    images = np.zeros((len(names), *decoder.shape), dtype=np.uint8)
    failures: dict[int, Unreadable] = {}

    def decode_span(start: int) -> None:
        for i in range(start, min(start + 64, len(names))):
            try:
                images[i] = decoder.read(files, names[i])
            except Unreadable as error:
                failures[i] = error

    spans = range(0, len(names), 64)
    with quiet() as texts:
        if threads <= 1 or len(spans) <= 1:
            for start in spans:
                decode_span(start)
        else:
            with ThreadPoolExecutor(threads) as pool:  # Pillow and zlib release the GIL
                try:
                    list(pool.map(decode_span, spans))
                except BaseException:
                    pool.shutdown(cancel_futures=True)
                    raise
    if warned is not None:
        warned += texts
    return images, dict(sorted(failures.items()))


def decode(files: Files, names: Sequence[str], decoder: Decoder, threads: int = 1) -> np.ndarray:
    """[len(names), C, size, size] uint8. Raises: DataError naming the unreadable files."""
    images, failures = attempt(files, names, decoder, threads)
    if failures:
        raise unreadable(files, {names[i]: error.reason for i, error in failures.items()}, str(next(iter(failures.values()))))
    return images


def unreadable(files: Files, reasons: Mapping[str, str], alone: str = "", advice: str = "Replace or remove them") -> DataError:
    """The error that names broken files, the first ten of them; `alone` is what it says of a single one."""
    if len(reasons) == 1 and alone:
        return DataError(alone)
    shown = ", ".join(f"'{printable(name)}' ({' '.join(reason.split())})" for name, reason in list(reasons.items())[:10])
    more = f" and {len(reasons) - 10} more" if len(reasons) > 10 else ""
    return DataError(f"{len(reasons)} files in {files.path} cannot be read: {shown}{more}. {advice}")


def n_cores() -> int:
    """Cores this process may use, shared with the other ranks on the machine; at most 8."""
    return max(1, min(8, cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", "1")))))
