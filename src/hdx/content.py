"""What files hold, as digests: data and weights are known by their bytes, whatever their place, name and times.

The digest of a file is the sha256 of its bytes, as `sha256sum` prints it; that of a folder is of the names, sizes and
digests of the files in it. What was read once is kept in a small store of the user's (`hdx.content_store`) under what a
stat says of the file, so that asking again costs a stat for each file. No torch here.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import time
import unicodedata
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from typing import NamedTuple

from hdx.content_store import Store
from hdx.errors import DataError

log = logging.getLogger("hdx")

SETTLED_S = 2.0  # what changed more recently than this may change again within the resolution of a file's time
LARGE_BYTES = 1 << 30  # to read more than this takes long enough to be said
_CHUNK = 1 << 20
_memo: ContextVar[dict[Path, str] | None] = ContextVar("memo", default=None)


def of(path: Path | str) -> str:
    """Hex sha256 of a file or a folder. Raises: DataError naming what is missing or cannot be read."""
    place, memo = Path(path).expanduser(), _memo.get()
    if memo is None:
        return of_folder(place) if place.is_dir() else of_file(place)
    place = place.resolve()
    if place not in memo:
        memo[place] = of_folder(place) if place.is_dir() else of_file(place)
    return memo[place]


def of_file(path: Path | str) -> str:
    """Hex sha256 of the bytes of a file, a .zip among them."""
    return _digests([_look(str(Path(path).expanduser()))])[0]


def of_folder(path: Path | str, endings: tuple[str, ...] = ("",)) -> str:
    """Hex digest of a folder: of every file below it the '/'-separated name (NFC), the size and the bytes.

    Args:
        endings: of the names that count.

    Hidden files and the shadow files of macOS, which no dataset reads, do not count, nor do empty folders; links are followed.
    """
    root = Path(path).expanduser()
    return of_files(root, [name for name in walk(root) if name.endswith(endings)])


def of_files(root: Path, names: Sequence[str]) -> str:
    """Hex digest of some files below a folder, as `of_folder` has it: of their names, sizes and bytes, in whatever order."""
    seen = [_look(f"{root}{os.sep}{name}") for name in names]
    stamp = hashlib.sha256("\n".join(f"{each.key} {name}" for each, name in zip(seen, names)).encode("utf-8", "surrogateescape"))
    key = f"tree:{stamp.hexdigest()}"
    with contextlib.closing(Store()) as store:
        if known := store.get([key]).get(key):
            return known
        lines = sorted(
            f"{unicodedata.normalize('NFC', name)}\t{each.size}\t{digest}"
            for name, each, digest in zip(names, seen, _digests(seen, store))
        )
        total = hashlib.sha256("\n".join(lines).encode("utf-8", "surrogateescape")).hexdigest()
        if all(each.settled for each in seen):
            store.put({key: total})
    return total


def hidden(name: str) -> bool:
    """Whether a '/'-separated name is that of a hidden file or of a shadow file of macOS, or lies in such a folder."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def walk(root: Path) -> Iterator[str]:
    """The '/'-separated names of all files below a folder that are not hidden, sorted folder by folder; links are followed,
    except those that lead back."""
    for here, below, names in os.walk(root, onerror=_refuse, followlinks=True):
        below[:] = sorted(name for name in below if not hidden(name) and not _leads_back(Path(here) / name))
        prefix = f"{here[len(str(root)) :].replace(os.sep, '/').strip('/')}/".lstrip("/")
        yield from (prefix + name for name in sorted(names) if not hidden(name))


@contextlib.contextmanager
def asked_once() -> Iterator[None]:
    """What is asked for several times inside is looked at once: for the many configs of a sweep on the same data."""
    token = _memo.set(_memo.get() or {})
    try:
        yield
    finally:
        _memo.reset(token)


class _Seen(NamedTuple):
    """A file as a stat shows it; `key` changes whenever the bytes may have."""

    path: str
    size: int
    key: str
    settled: bool


def _look(path: str) -> _Seen:
    try:
        info = os.stat(path)  # noqa: PTH116 - Path objects cost half of the time of a large folder
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}. Replace or remove the file") from error
    if not stat.S_ISREG(info.st_mode):  # reading a pipe would block for ever
        raise DataError(f"{path} is not a file. Remove it")
    key = f"{info.st_dev}:{info.st_ino}:{info.st_size}:{info.st_mtime_ns}:{info.st_ctime_ns}"
    return _Seen(path, info.st_size, key, time.time() - info.st_ctime_ns / 1e9 > SETTLED_S)


def _digests(seen: Sequence[_Seen], store: Store | None = None) -> list[str]:
    """The digest of each file, from the store or from its bytes."""
    if store is None:
        with contextlib.closing(Store()) as opened:
            return _digests(seen, opened)
    known = store.get([each.key for each in seen])
    new = [each for each in seen if each.key not in known]
    if (n_bytes := sum(each.size for each in new)) > LARGE_BYTES:
        log.warning(
            "reading %.1f GB of %s (and %d more) to know them by content (once)", n_bytes / 1e9, new[0].path, len(new) - 1
        )
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashlib releases the GIL
        read = dict(zip((each.key for each in new), pool.map(_read, new)))
    store.put({each.key: read[each.key] for each in new if each.settled})
    known |= read
    return [known[each.key] for each in seen]


def _read(seen: _Seen) -> str:
    """The sha256 of a file's bytes. Raises: DataError when it cannot be read, or changes meanwhile."""
    digest = hashlib.sha256()
    try:
        with open(seen.path, "rb") as file:  # noqa: PTH123
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError as error:
        raise DataError(f"cannot read {seen.path}: {error.strerror}. Replace or remove the file") from error
    if _look(seen.path).key != seen.key:
        raise DataError(f"{seen.path} changes while it is read: wait until it is written, then try again")
    return digest.hexdigest()


def _refuse(error: OSError) -> None:
    raise DataError(f"cannot read {error.filename}: {error.strerror}. Give the right to read it, or remove it") from error


def _leads_back(folder: Path) -> bool:
    """Whether a folder is a link to one that holds it; class folders may be links, but a walk must end."""
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())
