"""Which files are images, by their names: whatever the installed Pillow can open."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

JUNK = {"desktop.ini", "thumbs.db", "ehthumbs.db", "icon\r"}  # what Windows and macOS leave in folders
ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")


@lru_cache(maxsize=1)
def image_endings() -> tuple[str, ...]:
    """Endings in lower case, with the dot, of the formats that Pillow decodes to pixels; videos and mere headers are none."""
    from PIL import Image, ImageFile

    Image.init()
    readable = {kind.format for kind in _below(ImageFile.ImageFile) if not issubclass(kind, ImageFile.StubImageFile)}
    readable = {name for name in readable if not Image.MIME.get(name, "image/").startswith("video/")}
    return tuple(sorted(ending.lower() for ending, name in Image.registered_extensions().items() if name in readable))


def _below(kind: Any) -> Iterator[Any]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


def is_image(name: str) -> bool:
    """Whether the name ends as an image's does, in either case."""
    return name.lower().endswith(image_endings())


def is_junk(name: str) -> bool:
    """Whether an operating system made the file for itself."""
    return name.rpartition("/")[2].lower() in JUNK


def is_shadow(name: str) -> bool:
    """Whether macOS made the file beside another one to keep what its own file system would."""
    return any(part.startswith("._") or part == "__MACOSX" for part in name.split("/"))


def ending(name: str) -> str:
    """What a file's name ends in, for messages: ".heic", or "no ending"."""
    base = name.rpartition("/")[2]
    return f".{base.rpartition('.')[2].lower()}" if "." in base.lstrip(".") else "no ending"


def printable(name: str) -> str:
    """A file's name with control characters and bytes of no known encoding as escapes, so that it fits on a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
