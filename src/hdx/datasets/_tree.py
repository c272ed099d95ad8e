"""Trees of class folders, on disk or inside a .zip that is read in place: which files there are, and of which class."""

from __future__ import annotations

import hashlib
import logging
import os
import stat
import zipfile
import zlib
from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np

from hdx.errors import DataError

logger = logging.getLogger("hdx")

EXTENSIONS = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm")
MAX_FILE_BYTES = 512 * 2**20


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
        """What there is now. Raises: DataError when the path is no readable folder or .zip, or a .zip lists a file twice."""
        images, folders = _images_in_zip(self.path) if self.zipped else _images_in_folder(self.path)
        return Contents(self, images, folders)

    def read(self, name: str) -> bytes:
        """Bytes of a file. Raises: DataError naming it when it is missing, damaged, encrypted or over 512 MB."""
        try:
            return self._read_member(name) if self.zipped else self._read_file(name)
        except (OSError, KeyError, RuntimeError, NotImplementedError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(f"cannot read '{name}' in {self.path}: {error}. Replace or remove the file") from error

    def _read_file(self, name: str) -> bytes:
        file = self.path / name
        self._refuse_huge(name, file.stat().st_size)
        return file.read_bytes()

    def _read_member(self, name: str) -> bytes:
        archive = _opened(self.path, os.getpid())
        self._refuse_huge(name, archive.getinfo(name).file_size)
        return archive.read(name)

    def _refuse_huge(self, name: str, n_bytes: int) -> None:
        if n_bytes > MAX_FILE_BYTES:
            raise DataError(f"'{name}' in {self.path} has {n_bytes} bytes, more than {MAX_FILE_BYTES}. Remove the file")


@dataclass(frozen=True)
class Contents:
    """Names found in a folder or .zip; hidden ones and macOS's shadow files are left out.

    Attributes:
        files: where they are read.
        images: image files with (bytes, CRC or modification time).
        folders: all folders.
    """

    files: Files
    images: dict[str, tuple[int, int]]
    folders: set[str]

    def above(self, folder: str) -> str | None:
        """What stands before `folder/` in the first image's name that has it: "" or "a/"; None where none has it."""
        for name in self.images:
            before, found, _ = f"/{name}".partition(f"/{folder}/")
            if found:
                return f"{before}/".lstrip("/")
        return None


def _opened(path: Path, pid: int) -> zipfile.ZipFile:
    info = path.stat()
    return _open_zip(path, info.st_size, info.st_mtime_ns, pid)


@lru_cache(maxsize=8)
def _open_zip(path: Path, size: int, mtime_ns: int, pid: int) -> zipfile.ZipFile:
    """One handle per file state and process: a forked child that shared it would move its parent's file position."""
    try:
        return zipfile.ZipFile(path)
    except (OSError, zipfile.BadZipFile) as error:
        raise DataError(f"{path} is not a readable .zip: {error}") from error


def _shown(name: str) -> bool:
    return not any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _images_in_zip(path: Path) -> tuple[dict[str, tuple[int, int]], set[str]]:
    files: dict[str, tuple[int, int]] = {}
    folders: set[str] = set()
    for info in _opened(path, os.getpid()).infolist():
        name = info.filename.strip("/")
        if not _shown(name):
            continue
        if info.is_dir():
            folders.add(name)
            continue
        folders.update(_parents(name) if (parent := name.rpartition("/")[0]) not in folders else [parent])
        if name.lower().endswith(EXTENSIONS):
            if name in files:
                raise DataError(f"{path} lists '{name}' twice, so which image is meant is unclear. Make the .zip anew")
            files[name] = info.file_size, info.CRC
    return files, folders


def _parents(name: str) -> list[str]:
    parts = name.split("/")[:-1]
    return ["/".join(parts[: i + 1]) for i in range(len(parts))]


def _images_in_folder(path: Path) -> tuple[dict[str, tuple[int, int]], set[str]]:
    if not path.is_dir():
        raise DataError(f"{path} is not a folder and not a .zip")
    files: dict[str, tuple[int, int]] = {}
    folders: set[str] = set()
    for here, below, names in os.walk(path, followlinks=True):
        below[:] = [d for d in below if _shown(d) and not _leads_back(Path(here) / d)]
        relative = Path(here).relative_to(path).as_posix()
        prefix = "" if relative == "." else relative + "/"
        folders.update(prefix + d for d in below)
        for name in names:
            if name.lower().endswith(EXTENSIONS) and _shown(name):
                files[prefix + name] = _stamp(Path(here) / name)
    return files, folders


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


@dataclass(frozen=True)
class Listing:
    """Images of a tree and their classes, sorted by (class, file name).

    Attributes:
        files: where they are read.
        names: [N] names to read.
        classes: sorted.
        labels: [N] int64.
        identity: digest of names, sizes and stamps; does not depend on where the tree lies.
    """

    files: Files
    names: list[str]
    classes: list[str]
    labels: np.ndarray
    identity: str

    def __len__(self) -> int:
        return len(self.names)


def top_folder(names: Iterable[str]) -> str:
    """The folders that all images share and that hold nothing but one folder: "" or "a/" or "a/b/".

    `101_ObjectCategories/<class>/x.jpg` gives "101_ObjectCategories/"; a tree of one class is left as it is.
    """
    folders = {name.rpartition("/")[0] for name in names}
    top = ""
    while True:
        heads = {folder[len(top) :].partition("/")[0] for folder in folders}
        if len(heads) != 1 or (head := heads.pop()) == "" or top + head in folders:
            return top
        top += head + "/"


def list_classes(contents: Contents, *, unders: Iterable[str] = ("",), depth: int = 1, drop: Collection[str] = ()) -> Listing:
    """Class folders `depth` levels below each of `unders` ("" or "train/"); deeper files belong to the class above them.

    Args:
        contents: the tree.
        unders: prefixes below which classes begin; the same class under two of them is one class.
        depth: 1 for `<class>/x.png`, 2 for `<alphabet>/<character>/x.png`, whose class name is `alphabet/character`.
        drop: classes that are left out.

    Raises: DataError for a class folder without images, naming it, and for a tree without class folders.
    """
    files, images, folders = contents.files, contents.images, contents.folders
    found: dict[str, tuple[str, str]] = {}  # name -> (class, name below the prefix)
    wanted, strays = set(), []
    for under in unders:
        cut = len(under)
        for name in images:
            if name.startswith(under):
                parts = name[cut:].split("/")
                if len(parts) <= depth:
                    strays.append(name)
                else:
                    found[name] = "/".join(parts[:depth]), name[cut:]
        wanted |= {f[cut:] for f in folders if f.startswith(under) and f[cut:] and f[cut:].count("/") == depth - 1}
    counts = Counter(cls for cls, _ in found.values())
    classes = sorted(set(counts) - set(drop))
    if empty := sorted(wanted - set(counts) - set(drop)):
        more = f" (and {len(empty) - 1} more)" if len(empty) > 1 else ""
        raise DataError(f"class folder '{empty[0]}'{more} in {files.path} has no images ({_kinds()}). Fill or remove it")
    if not classes:
        raise DataError(f"{files.path} has no class folders with images ({_kinds()}); expected <class>/<image> inside")
    if strays:
        logger.warning("%s: %d images outside class folders are left out (first: %s)", files.path, len(strays), strays[0])
    order = sorted((cls, below, name) for name, (cls, below) in found.items() if cls not in drop)
    index = {cls: i for i, cls in enumerate(classes)}
    lines = [f"{below}\t{images[name][0]}\t{images[name][1]}" for _, below, name in order]
    return Listing(
        files=files,
        names=[name for _, _, name in order],
        classes=classes,
        labels=np.array([index[cls] for cls, _, _ in order], dtype=np.int64),
        identity=hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest(),
    )


def _kinds() -> str:
    return " ".join(EXTENSIONS).replace(".", "")
