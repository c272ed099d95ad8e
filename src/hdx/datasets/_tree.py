"""Trees of files, on disk or inside a .zip that is read in place: which files there are."""

from __future__ import annotations

import os
import stat
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from hdx.content import hidden
from hdx.datasets._archive import opened
from hdx.datasets._kinds import is_image, is_junk, is_shadow, printable
from hdx.errors import DataError

MAX_FILE_BYTES = 512 * 2**20


class Unreadable(DataError):
    """One file cannot be read or decoded.

    Attributes:
        reason: why, in a few words.
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Files:
    """The files of a folder or of a .zip, by their '/'-separated names. Small and picklable: workers open their own.

    Args:
        path: of the folder or the .zip.
    """

    path: Path

    @property
    def zipped(self) -> bool:
        """Whether the path is a file, and so a .zip."""
        return self.path.is_file()

    def contents(self) -> Contents:
        """What there is now. Raises: DataError when the path is no readable folder or .zip, or a .zip lists an image twice."""
        return _of_zip(self) if self.zipped else _of_folder(self)

    def read(self, name: str) -> bytes:
        """Bytes of a file. Raises: Unreadable naming it when it is missing, damaged, encrypted or over 512 MB."""
        try:
            return self._read_member(name) if self.zipped else self._read_file(name)
        except (OSError, KeyError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
            where = f"'{printable(name)}' in {self.path}"
            raise Unreadable(f"cannot read {where}: {reason}. Replace or remove the file", reason) from error

    def _read_file(self, name: str) -> bytes:
        file = self.path / name
        self._refuse_huge(name, file.stat().st_size)
        return file.read_bytes()

    def _read_member(self, name: str) -> bytes:
        archive = opened(self.path)
        info = archive.members[name]
        self._refuse_huge(name, info.file_size)
        return archive.zip.read(info)

    def _refuse_huge(self, name: str, n_bytes: int) -> None:
        if n_bytes > MAX_FILE_BYTES:
            reason = f"has {n_bytes} bytes, more than {MAX_FILE_BYTES}"
            raise Unreadable(f"'{printable(name)}' in {self.path} {reason}. Remove the file", reason)


@dataclass(frozen=True)
class Contents:
    """Names found in a folder or .zip.

    Attributes:
        files: where they are read.
        images: image files with (bytes, CRC or modification time); hidden ones are not among them.
        folders: all folders that are not hidden.
        others: files of other kinds, but for hidden ones and those that Windows and macOS leave everywhere.
        hidden: images that are hidden or lie in hidden folders, but for macOS's shadow files.
        mended: how the names of a .zip had to be read, for a message.
    """

    files: Files
    images: dict[str, tuple[int, int]] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)
    others: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)
    mended: tuple[str, ...] = ()

    def takes(self, name: str) -> bool:
        """Whether a file is an image of the data; any other is noted where it belongs."""
        if hidden(name):
            if is_image(name) and not is_shadow(name):
                self.hidden.append(name)
            return False
        if is_image(name):
            return True
        if not is_junk(name):
            self.others.append(name)
        return False

    def above(self, folder: str) -> str | None:
        """What stands before `folder/` in the first image's name that has it: "" or "a/"; None where none has it."""
        for name in self.images:
            before, found, _ = f"/{name}".partition(f"/{folder}/")
            if found:
                return f"{before}/".lstrip("/")
        return None


def _of_zip(files: Files) -> Contents:
    archive = opened(files.path)
    found = Contents(files, folders={name for name in archive.folders if not hidden(name)}, mended=tuple(archive.mended))
    for name, info in archive.members.items():
        if found.takes(name):
            found.images[name] = info.file_size, info.CRC
        if not hidden(name) and name.rpartition("/")[0] not in found.folders:
            found.folders.update(_parents(name))
    return found


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _of_folder(files: Files) -> Contents:
    path, found, unreadable = files.path, Contents(files), []
    if not path.is_dir():
        raise DataError(f"{path} is not a folder and not a .zip")
    for here, below, names in os.walk(path, followlinks=True, onerror=_refuse):
        below[:] = [d for d in below if not _leads_back(Path(here) / d)]
        relative = Path(here).relative_to(path).as_posix()
        prefix = "" if relative == "." else relative + "/"
        found.folders.update(prefix + d for d in below if not hidden(prefix + d))
        for name in names:
            if found.takes(prefix + name):
                try:
                    found.images[prefix + name] = _stamp(Path(here) / name)
                except DataError as error:
                    unreadable.append(error)
    if unreadable:
        more = f" (and {len(unreadable) - 1} more like it)" if len(unreadable) > 1 else ""
        raise DataError(f"{unreadable[0]}{more}")
    return found


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read {error.filename}: {error.strerror}. Give the right to read it, or remove it") from error


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that holds it; class folders may be links, but a walk must end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def _stamp(file: Path) -> tuple[int, int]:
    try:
        info = file.stat()
    except OSError as error:
        raise DataError(f"cannot read {file}: {error.strerror}. Replace or remove the file") from error
    if not stat.S_ISREG(info.st_mode):  # reading a pipe would block for ever
        raise DataError(f"{file} is called an image but is not a file. Remove it")
    return info.st_size, info.st_mtime_ns
