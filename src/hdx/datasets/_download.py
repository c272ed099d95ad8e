"""Downloads: resumed when broken off, checked by a checksum, and in place only when whole. No torch here."""

from __future__ import annotations

import hashlib
import logging
import shutil
import tarfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any

from hdx.errors import DataError

logger = logging.getLogger("hdx")
CHUNK, TRIES, TIMEOUT_S = 1 << 20, 5, 60.0
DIGITS = {32: "md5", 64: "sha256"}


@dataclass(frozen=True)
class Remote:
    """A file that a dataset is got from.

    Attributes:
        urls: where it is, the first that answers is taken.
        name: of the file, below the folder of datasets.
        checksum: hex md5 or sha256; "" where its authors publish none, which is said.
        unpack: the folder below that of datasets that an archive is unpacked into; None leaves the file as it is.
    """

    urls: tuple[str, ...]
    name: str
    checksum: str = ""
    unpack: str | None = None


def get(remote: Remote, folder: Path) -> Path:
    """The file, downloaded and checked, and unpacked where it is an archive.

    What is there and right is not downloaded again; what a broken download left (`<name>.part`) is gone on with.

    Returns: where it or what it holds is.
    Raises: DataError naming the file: no answer, a transfer that stays broken, or a wrong checksum.
    """
    target = folder / remote.name
    if not (target.is_file() and (not remote.checksum or _digest(target, remote.checksum) == remote.checksum)):
        _fetch(remote, target)
    if remote.unpack is None:
        return target
    _unpack(target, folder / remote.unpack)
    return folder / remote.unpack


def _fetch(remote: Remote, target: Path) -> None:
    part = target.with_name(f"{target.name}.part")
    target.parent.mkdir(parents=True, exist_ok=True)
    problems = []
    for url in remote.urls:
        try:
            _transfer(url, part)
            break
        except (OSError, HTTPException, ValueError) as error:  # urllib's errors are OSErrors
            problems.append(f"{url}: {_reason(error)}")
    else:
        kept = f" ({part.stat().st_size} bytes are kept in {part.name}: the next try goes on from there)" if part.exists() else ""
        raise DataError(
            f"download of {remote.name} failed: {'; '.join(problems)}{kept}. Try again, or put the file into {target.parent}"
        )
    if remote.checksum and (found := _digest(part, remote.checksum)) != remote.checksum:
        part.unlink()
        kind = DIGITS[len(remote.checksum)]
        raise DataError(
            f"download of {remote.name} has {kind} {found}, expected {remote.checksum}: it is removed. "
            "Try again; if it stays so, the file at its source is another one"
        )
    if not remote.checksum:
        logger.warning("%s: its authors publish no checksum, so what was downloaded is taken as it is", remote.name)
    part.replace(target)


def _transfer(url: str, part: Path) -> None:
    """Download into `part`, from where it ends; a transfer that breaks off is taken up again while it gets further."""
    failed = 0
    while True:
        before = part.stat().st_size if part.exists() else 0
        try:
            if _receive(url, part, before):
                return
            error: Exception = OSError("the transfer broke off")
        except urllib.error.HTTPError:
            raise
        except (OSError, HTTPException) as broken:
            error = broken
        failed = 0 if part.exists() and part.stat().st_size > before else failed + 1
        if failed >= TRIES or not part.exists():
            raise error
        logger.warning("%s broke off after %d bytes (%s); going on from there", url, part.stat().st_size, _reason(error))
        time.sleep(0.1 * failed)


def _receive(url: str, part: Path, start: int) -> bool:
    """Append what comes. Returns: whether that is all that the server announced."""
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})
    try:
        answer = urllib.request.urlopen(request, timeout=TIMEOUT_S)
    except urllib.error.HTTPError as error:
        if error.code == 416 and start:  # nothing is left to send: the checksum says whether it is right
            return True
        raise
    with answer:
        resumed = answer.status == 206
        if start and not resumed:
            logger.warning("%s does not send parts of files: starting again", url)
        with part.open("ab" if resumed else "wb") as file:
            received = _copy(answer, file)
    expected = answer.headers.get("Content-Length")
    return expected is None or received == int(expected)


def _copy(answer: Any, file: Any) -> int:
    total = 0
    while chunk := answer.read(CHUNK):
        file.write(chunk)
        total += len(chunk)
    return total


def _digest(path: Path, like: str) -> str:
    total = hashlib.new(DIGITS[len(like)])
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            total.update(chunk)
    return total.hexdigest()


def _unpack(archive: Path, folder: Path) -> None:
    """Unpack into a folder beside and move what came, so that a broken unpacking leaves nothing that looks whole."""
    new = archive.with_name(f"{archive.name}.unpacking")
    shutil.rmtree(new, ignore_errors=True)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as opened:
                opened.extractall(new)
        elif tarfile.is_tarfile(archive):
            with tarfile.open(archive) as packed:
                packed.extractall(new, filter="data")  # nothing outside the folder
        else:
            _gunzip(archive, new)
        for inner in sorted(new.rglob("*.gz")):  # files of an archive that are packed one by one
            _gunzip(inner, new)
            inner.unlink()
        _move(new, folder)
    except (OSError, tarfile.TarError, zipfile.BadZipFile, EOFError) as error:
        raise DataError(f"{archive} cannot be unpacked: {_reason(error)}. Remove it and get it again") from error
    finally:
        shutil.rmtree(new, ignore_errors=True)


def _gunzip(archive: Path, folder: Path) -> None:
    import gzip

    folder.mkdir(parents=True, exist_ok=True)
    with gzip.open(archive, "rb") as packed, (folder / archive.name.removesuffix(".gz")).open("wb") as file:
        shutil.copyfileobj(packed, file, CHUNK)


def _move(new: Path, folder: Path) -> None:
    """What is in `new` into `folder`; of folders that are there already the content."""
    folder.mkdir(parents=True, exist_ok=True)
    for each in sorted(new.iterdir()):
        target = folder / each.name
        if each.is_dir() and target.is_dir():
            _move(each, target)
        else:
            each.replace(target)


def _reason(error: Exception) -> str:
    """Why, in a few words."""
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return " ".join(str(error).split()) or type(error).__name__


def names(remotes: Sequence[Remote]) -> str:
    """For a message."""
    return ", ".join(remote.name for remote in remotes)
