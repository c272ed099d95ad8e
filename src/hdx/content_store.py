"""Where digests of contents are kept between runs: one SQLite file in the user's cache, which may be deleted at any time."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

log = logging.getLogger("hdx")

WAIT_S = 5.0
MAX_BYTES = 256 * 2**20  # of the file: then it begins anew
_AT_ONCE = 500  # keys of one query


def folder() -> Path:
    """The user's cache of hdx: `$HDX_CACHE`, else `hdx` in `$XDG_CACHE_HOME`, else in `~/.cache`."""
    if chosen := os.environ.get("HDX_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "hdx"


class Store:
    """Digests by key. A file that is locked, damaged or cannot be written costs time and nothing else.

    Args:
        file: the SQLite file; by default `content.sqlite` in `folder()`.
    """

    def __init__(self, file: Path | None = None) -> None:
        self.file = file or folder() / "content.sqlite"
        self._database: sqlite3.Connection | None = None
        try:
            if self.file.exists() and self.file.stat().st_size > MAX_BYTES:
                self.file.unlink()
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._database = sqlite3.connect(self.file, timeout=WAIT_S, isolation_level=None)
            self._database.execute("pragma synchronous = off")  # nothing is lost with the file
            self._database.execute("create table if not exists digests (key text primary key, digest text, checksum int)")
        except (sqlite3.Error, OSError) as error:
            self._give_up(error)

    def get(self, keys: Iterable[str]) -> dict[str, str]:
        """The digests of those keys that have one."""
        wanted = list(keys)
        found: dict[str, str] = {}
        for start in range(0, len(wanted) if self._database else 0, _AT_ONCE):
            part = wanted[start : start + _AT_ONCE]
            query = f"select key, digest, checksum from digests where key in ({','.join('?' * len(part))})"
            try:
                rows = self._database.execute(query, part).fetchall() if self._database else []
            except sqlite3.Error as error:
                self._give_up(error)
                return found
            found |= {key: digest for key, digest, checksum in rows if checksum == _checksum(key, digest)}
        return found

    def put(self, digests: Mapping[str, str]) -> None:
        """Keep digests, in one transaction."""
        if not digests or self._database is None:
            return
        rows = [(key, digest, _checksum(key, digest)) for key, digest in digests.items()]
        try:
            with self._database as database:
                database.execute("begin immediate")
                database.executemany("insert or replace into digests values (?, ?, ?)", rows)
        except sqlite3.Error as error:
            self._give_up(error)

    def close(self) -> None:
        """Close the file."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _give_up(self, error: Exception) -> None:
        log.debug("digests of contents in %s: %s", self.file, error)
        self.close()
        if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):  # damaged
            with contextlib.suppress(OSError):
                self.file.unlink(missing_ok=True)


def _checksum(key: str, digest: str) -> int:
    return zlib.crc32(f"{key}\n{digest}".encode())
