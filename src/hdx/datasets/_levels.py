"""Images of more than 8 bits a sample, and floats: from their levels to 8 bits, by the range that they are in.

Pillow cuts such images off or keeps the upper byte alone, so that 12 bits inside 16 become black. Here a file's own statement of
its range counts; without one the range of all such images of a dataset does, so that one stays brighter than another.
"""

from __future__ import annotations

import io
import struct
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

Range = tuple[float, float]
FULL: Range = (0, 65535)
WHOLE = [2**bits - 1 for bits in (8, *range(9, 17), 32)]  # the largest level of so many bits
FLOATS = [1.0, 255.0, 65535.0]
SCALED = ("PPM", "JPEG2000")  # formats whose levels Pillow brings to all of 16 bits, by what the file states
SMIN, SMAX, BITS, PHOTOMETRIC = 340, 341, 258, 262  # tags of TIFF


@dataclass(frozen=True)
class Ranges:
    """From which level (black) to which (white) the images of a dataset go that state no range.

    Attributes:
        integer: of those with integers of more than 8 bits; None where it is not known.
        floating: of those with floats.
    """

    integer: Range | None = None
    floating: Range | None = None


class NoRange(ValueError):
    """Levels that are in no range that is known."""


@dataclass(frozen=True)
class Levels:
    """What a deep image holds.

    Attributes:
        values: [H, W] or [H, W, 3], integers or floats, as stored.
        alpha: [H, W] uint8, or None where all is opaque.
        stated: the range that the file states, or None.
        negative: whether the lowest level is white.
    """

    values: np.ndarray
    alpha: np.ndarray | None
    stated: Range | None
    negative: bool = False

    @property
    def kind(self) -> str:
        """Of `Ranges`, the attribute that is about such values."""
        return "floating" if self.values.dtype.kind == "f" else "integer"

    def eight_bits(self, ranges: Ranges) -> np.ndarray:
        """The values as uint8. Raises: NoRange when neither the file states a range nor `ranges` has one."""
        low, high = self.stated or getattr(ranges, self.kind) or (0, 0)
        if not high > low:
            what = "floats" if self.kind == "floating" else "levels of more than 8 bits"
            raise NoRange(f"has {what}, and no range that they are in is known, or all are the same")
        if (low, high) == FULL and self.values.dtype == np.uint16:
            scaled = (self.values >> 8).astype(np.uint8)
        else:
            share = (self.values.astype(np.float64) - low) / (high - low)
            scaled = np.rint(share.clip(0, 1) * 255).astype(np.uint8)
        return 255 - scaled if self.negative else scaled


def is_deep(image: Any) -> bool:
    """Whether an opened image, not yet decoded, has samples of more than 8 bits, which Pillow brings to 8 in ways of its own."""
    return image.mode.startswith(("I", "F")) or _raw_mode(image) is not None


def levels_of(image: Any, data: bytes) -> Levels:
    """The levels of a deep image, upright by its EXIF.

    Raises: ValueError for values that are not finite; whatever Pillow raises for a damaged file.
    """
    from PIL import ImageOps

    if (raw := _raw_mode(image)) is not None:
        return _colour(image, raw, data)
    mask, negative = image.info.get("transparency"), image.format == "TIFF" and image.tag_v2.get(PHOTOMETRIC) == 0
    values = np.asarray(ImageOps.exif_transpose(image))
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("holds values that are not finite (NaN or infinity)")
        return Levels(values, None, _stated(image, data, values))
    values = values.astype(np.uint16 if values.min() >= 0 and values.max() <= FULL[1] else np.int64)
    alpha = np.where(values == mask, 0, 255).astype(np.uint8) if isinstance(mask, int) else None
    return Levels(values, alpha, _stated(image, data, values), negative)


def measured(low: float, high: float, kind: str) -> Range | None:
    """The range of a set whose levels go from `low` to `high`: a usual one that they fill to a quarter, else their own.

    None where all levels are one.
    """
    if not high > low:
        return None
    if low >= 0:
        top = next((top for top in (WHOLE if kind == "integer" else FLOATS) if high <= top), None)
        if top is not None and high - low >= top / 4:
            return (0, top)
    return (low, high)


def _raw_mode(image: Any) -> str | None:
    """How the samples of an image of 16 bits a channel are stored that Pillow is about to cut to their upper bytes."""
    if len(image.tile) == 0 or image.mode not in ("RGB", "RGBA", "RGBX", "RGBa", "LA", "CMYK"):
        return None
    args = image.tile[0][3]
    raw = args[0] if isinstance(args, tuple) and args else args
    return raw if isinstance(raw, str) and raw.partition(";")[2] in ("16B", "16L", "16N") else None


def _colour(image: Any, raw: str, data: bytes) -> Levels:
    """Both bytes of each sample: the file is decoded twice, the second time as if its byte order were the other."""
    from PIL import Image, ImageOps

    names, order = raw.split(";")
    mode, mask = image.mode, image.info.get("transparency")
    if names == "LA":  # Pillow has one byte order of this alone; read as four bytes it is whole
        _decode_as(image, "RGBA", "RGBA")
        parts = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16)
        values = parts[..., ::2] << 8 | parts[..., 1::2]  # [H, W, 2]
        return _translucent(values[..., 0], values[..., 1], image, data)
    lower = Image.open(io.BytesIO(data))
    swapped = "16B" if order == "16L" or (order == "16N" and sys.byteorder == "little") else "16L"
    _decode_as(lower, mode, f"{names};{swapped}")
    values = np.asarray(ImageOps.exif_transpose(image)).astype(np.uint16) << 8 | np.asarray(ImageOps.exif_transpose(lower))
    if mode == "CMYK":
        ink = values.astype(np.uint32)
        values = ((65535 - ink[..., :3]) * (65535 - ink[..., 3:]) // 65535).astype(np.uint16)
        return Levels(values, None, FULL)
    if mode in ("RGBA", "RGBa"):
        return _translucent(values[..., :3], values[..., 3], image, data, premultiplied=mode == "RGBa")
    values, alpha = values[..., :3], None
    if isinstance(mask, tuple) and len(mask) == 3:
        alpha = np.where((values == np.array(mask)).all(-1), 0, 255).astype(np.uint8)
    return Levels(values, alpha, _stated(image, data, values))


def _decode_as(image: Any, mode: str, raw: str) -> None:
    """Have an opened image decoded in another way than its file says."""
    image._mode = mode
    image.tile = [(codec, extents, offset, _renamed(args, raw)) for codec, extents, offset, args in image.tile]


def _renamed(args: Any, raw: str) -> Any:
    return (raw, *args[1:]) if isinstance(args, tuple) else raw


def _translucent(values: np.ndarray, alpha: np.ndarray, image: Any, data: bytes, premultiplied: bool = False) -> Levels:
    """Alpha is of all 16 bits, whatever range the colours are in, unless it is nowhere larger than 8 or 12 bits hold."""
    top = next(top for top in (255, 4095, 65535) if alpha.max() <= top)
    share = alpha / top
    if premultiplied:
        values = (values / np.where(share > 0, share, 1)[..., None]).clip(0, 65535).astype(np.uint16)
    return Levels(values, np.rint(share * 255).astype(np.uint8), _stated(image, data, values))


def _stated(image: Any, data: bytes, values: np.ndarray) -> Range | None:
    """The range that the file says its levels are in; None where it says nothing, or the levels contradict it."""
    if image.format in SCALED and values.dtype == np.uint16:
        return FULL
    if image.format == "TIFF":
        stated = _of_tiff(image.tag_v2)
    elif image.format == "PNG" and (bits := _significant_bits(data)):
        stated = FULL if _in_front(values, bits) else (0, 2**bits - 1)
    else:
        return None
    return stated if stated and stated[0] <= values.min() and values.max() <= stated[1] else None


def _of_tiff(tags: Any) -> Range | None:
    if SMAX in tags:
        low, high = (np.atleast_1d(tags.get(tag, 0)).astype(float) for tag in (SMIN, SMAX))
        return float(low.min()), float(high.max())
    bits = int(np.max(tags.get(BITS, 16)))
    return (0, 2**bits - 1) if 8 < bits < 16 else None


def _in_front(values: np.ndarray, bits: int) -> bool:
    """Whether the significant bits are the upper ones, as PNG wants it: behind them are their own first ones, or zeros."""
    behind = values & (2 ** (16 - bits) - 1)
    copied = (values >> bits if bits >= 8 else behind) & (2 ** (16 - bits) - 1)
    return bool(values.any() and ((behind == 0).all() or (behind == copied).all()))


def _significant_bits(data: bytes) -> int:
    """The chunk sBIT of a PNG: how many bits of a sample are the original's; 0 without one, and for all 16."""
    at = 8
    while at + 8 <= len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        if kind == b"sBIT" and 0 < size <= 4:
            bits = max(data[at + 8 : at + 8 + (size if size in (1, 3) else size - 1)])
            return bits if 0 < bits < 16 else 0
        if kind == b"IDAT":
            return 0
        at += 12 + size
    return 0
