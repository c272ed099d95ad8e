"""Who has a run: one process at a time, told apart from one that died, without file locks."""

from __future__ import annotations

import os
import secrets
import socket
import threading
import time
from pathlib import Path
from typing import Any

from hdx.errors import RunError
from hdx.store.files import read_json, write_json

BEAT_S = 5.0
STALE_S = 60.0


class Lease:
    """Holds `lease.json` in a run directory and beats until released; use as a context manager.

    The file is created by linking a finished temporary file, which fails where one exists. A holder on this host is dead
    when its process is gone; one on another host when its heartbeat is older than a minute. A dead holder's file is taken
    away by a rename, which only one taker wins.

    Raises: RunError naming the holder when the run is held.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "lease.json"
        self.mine: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "token": secrets.token_hex(8)}
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Lease:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        for _ in range(3):
            if self._try():
                self._beat = threading.Thread(target=self._beating, daemon=True)
                self._beat.start()
                return self
            holder = self._holder()
            if holder is not None and not _dead(holder):
                raise RunError(
                    f"run {self.path.parent}: process {holder['pid']} on {holder['host']} has it; wait for it or stop it"
                )
            self._take_away(holder)
        raise RunError(f"run {self.path.parent}: another process took it just now; run again to see who")

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._beat is not None:
            self._beat.join()
        holder = self._holder()
        if holder is not None and holder.get("token") == self.mine["token"]:
            self.path.unlink(missing_ok=True)

    def _try(self) -> bool:
        temporary = self.path.with_name(f".lease.{self.mine['token']}.tmp")
        write_json(temporary, {**self.mine, "heartbeat": time.time()})
        try:
            os.link(temporary, self.path)
        except FileExistsError:
            return False
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _holder(self) -> dict[str, Any] | None:
        try:
            return read_json(self.path)
        except RunError:
            return None

    def _take_away(self, dead: dict[str, Any] | None) -> None:
        aside = self.path.with_name(f".lease.{self.mine['token']}.dead")
        try:
            self.path.rename(aside)
            taken = read_json(aside)
            if dead is not None and taken.get("token") != dead.get("token"):
                os.link(aside, self.path)  # someone else took over in between: it is theirs
        except (FileNotFoundError, FileExistsError, RunError):
            pass
        finally:
            aside.unlink(missing_ok=True)

    def _beating(self) -> None:
        while not self._stop.wait(BEAT_S):
            write_json(self.path, {**self.mine, "heartbeat": time.time()})


def _dead(holder: dict[str, Any]) -> bool:
    if holder.get("host") == socket.gethostname():
        try:
            os.kill(int(holder["pid"]), 0)
        except ProcessLookupError:
            return True
        except PermissionError:
            return False
        return False
    return time.time() - float(holder.get("heartbeat", 0)) > STALE_S
