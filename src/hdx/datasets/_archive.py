"""A .zip and the names of its members, as the tool that wrote it meant them."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

from hdx.datasets._kinds import is_image
from hdx.errors import DataError

UTF8_FLAG = 0x800
MADE_ON_DOS = 0


@dataclass(frozen=True)
class Archive:
    """An opened .zip.

    Attributes:
        zip: what reads it.
        members: for each '/'-separated name of a file what the .zip says of it.
        folders: names of the folders that have an entry of their own.
        mended: in what way names were not read as they stand, for a message; empty for a .zip as it should be.
    """

    zip: zipfile.ZipFile
    members: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    mended: list[str] = field(default_factory=list)


def opened(path: Path) -> Archive:
    """The archive, from the last call where the file is the same. Raises: DataError when it is no .zip, or lists a file twice."""
    info = path.stat()
    return _open(path, info.st_size, info.st_mtime_ns, os.getpid())


@lru_cache(maxsize=8)
def _open(path: Path, size: int, mtime_ns: int, pid: int) -> Archive:
    """One handle per file state and process: a forked child that shared it would move its parent's file position."""
    try:
        archive = Archive(zipfile.ZipFile(path))
    except (OSError, zipfile.BadZipFile, NotImplementedError, UnicodeDecodeError, ValueError) as error:
        raise DataError(f"{path} is not a readable .zip: {error}. Give a folder or a .zip; unpack other archives") from error
    mended: dict[str, int] = {}
    for info in archive.zip.infolist():
        name, folder = _meant(info, mended)
        if folder:
            archive.folders.add(name)
        elif name in archive.members and is_image(name):
            raise DataError(f"{path} lists '{name}' twice, so which image is meant is unclear. Make the .zip anew")
        elif name:
            archive.members[name] = info
    archive.mended.extend(f"{n_names} names {how}" for how, n_names in mended.items())
    return archive


def _meant(info: zipfile.ZipInfo, mended: dict[str, int]) -> tuple[str, bool]:
    """The '/'-separated name of a member, and whether it is a folder.

    macOS writes UTF-8 without the flag that says so, and Python then reads code page 437; tools of Windows write backslashes.
    A name that has slashes and was written elsewhere keeps its backslashes: they are part of it (`\\alpha/1.png`).
    """
    name, how = _decoded(info)
    if how:
        mended[how] = mended.get(how, 0) + 1
    if "\\" in name and (info.create_system == MADE_ON_DOS or "/" not in name):
        name, how = name.replace("\\", "/"), "have backslashes between folders"
        mended[how] = mended.get(how, 0) + 1
    folder = name.endswith("/")
    return "/".join(part for part in name.split("/") if part not in ("", ".")), folder


def _decoded(info: zipfile.ZipInfo) -> tuple[str, str]:
    """The name and, where it was not as Python reads it, in what way."""
    name = info.orig_filename.partition("\0")[0]
    if info.flag_bits & UTF8_FLAG or name.isascii():
        return name, ""
    raw = name.encode("cp437")
    if (beside := _unicode_path(info, raw)) is not None:
        return beside, ""
    try:
        return raw.decode("utf-8"), "are UTF-8 that is not marked as such"
    except UnicodeError:
        return name, "are in no known encoding, so that they are read as code page 437"


def _unicode_path(info: zipfile.ZipInfo, raw: bytes) -> str | None:
    """The name in the extra field 0x7075 of Info-ZIP, where there is one that is of this name."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack("<HH", extra[:4])
        body, extra = extra[4 : 4 + size], extra[4 + size :]
        if kind == 0x7075 and len(body) > 5 and struct.unpack("<L", body[1:5])[0] == zlib.crc32(raw):
            return body[5:].decode("utf-8", "replace")
    return None
