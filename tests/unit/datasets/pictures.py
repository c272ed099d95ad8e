"""Picture files that no library writes for a test: PNGs and TIFFs of any depth, with the chunks and tags that matter."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image
from PIL.TiffImagePlugin import ImageFileDirectory_v2

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # PNG's, by the number of channels


def png(levels: np.ndarray, depth: int = 16, *, significant: int = 0, clear: tuple[int, ...] = ()) -> bytes:
    """Levels [H, W] or [H, W, C]; `significant` makes a chunk sBIT, `clear` one tRNS."""
    levels = levels[..., None] if levels.ndim == 2 else levels
    height, width, channels = levels.shape
    rows = levels.astype(">u2" if depth == 16 else np.uint8).reshape(height, -1)
    if depth < 8:
        bits = np.unpackbits(levels.astype(np.uint8).reshape(height, -1, 1), axis=2)[..., 8 - depth :].reshape(height, -1)
        rows = np.packbits(bits, axis=1)
    data = b"".join(b"\0" + row.tobytes() for row in rows)
    header = struct.pack(">IIBBBBB", width, height, depth, COLOUR_TYPES[channels], 0, 0, 0)
    parts = [(b"IHDR", header), *([(b"sBIT", bytes([significant] * channels))] if significant else [])]
    parts += [(b"tRNS", struct.pack(f">{len(clear)}H", *clear))] if clear else []
    parts += [(b"IDAT", zlib.compress(data)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in parts
    )


def tiff(levels: np.ndarray, **tags: Any) -> bytes:
    """What Pillow saves of an array; tags by number, as `t340=1.0`."""
    info = ImageFileDirectory_v2()
    for name, value in tags.items():
        info[int(name[1:])] = value
    buffer = io.BytesIO()
    Image.fromarray(levels).save(buffer, "tiff", tiffinfo=info)
    return buffer.getvalue()


def tiff_rgb16(levels: np.ndarray, order: str = "<") -> bytes:
    """An uncompressed TIFF of [H, W, 3] uint16, little- or big-endian."""
    height, width, _ = levels.shape
    data = levels.astype(f"{order}u2").tobytes()
    entries = [(256, 3, 1, width), (257, 3, 1, height), (258, 3, 3, 8), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 14)]
    entries += [(277, 3, 1, 3), (278, 3, 1, height), (279, 4, 1, len(data)), (284, 3, 1, 1)]
    body = b""
    for tag, kind, count, value in entries:
        small = struct.pack(f"{order}HH", value, 0) if kind == 3 and count == 1 else struct.pack(f"{order}I", value)
        body += struct.pack(f"{order}HHI", tag, kind, count) + small
    magic = b"II*\0" if order == "<" else b"MM\0*"
    directory = struct.pack(f"{order}H", len(entries)) + body + struct.pack(f"{order}I", 0)
    return magic + struct.pack(f"{order}I", 14 + len(data)) + struct.pack(f"{order}HHH", 16, 16, 16) + data + directory
