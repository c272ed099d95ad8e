"""Who has a run: one process at a time, told apart from one that died, without file locks."""

from __future__ import annotations

import contextlib
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
    when its process is gone, is a zombie, or began at another time than the lease says (its number was given away); one on
    another host when its heartbeat is older than a minute. A dead holder's file is taken away by a rename, which only one
    taker wins.

    Raises: RunError naming the holder when the run is held.
    """

    def __init__(self, run_dir: Path) -> None:
        self.path = run_dir / "lease.json"
        self.mine: dict[str, Any] = {"host": socket.gethostname(), "pid": os.getpid(), "began": _began(os.getpid())}
        self.mine["token"] = secrets.token_hex(8)
        self._stop = threading.Event()
        self._beat: threading.Thread | None = None

    def __enter__(self) -> Lease:
        for _ in range(3):
            if self._try():
                self._beat = threading.Thread(target=self._beating, daemon=True)
                self._beat.start()
                return self
            refuse_if_held(self.path.parent)
            self._take_away(self._holder())
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
        except OSError as error:
            raise RunError(
                f"run {self.path.parent}: cannot be locked ({error.strerror}); set output_dir=… to another disk"
            ) from None
        finally:
            temporary.unlink(missing_ok=True)
        return True

    def _holder(self) -> dict[str, Any] | None:
        return _read(self.path)

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
            holder = self._holder()
            if holder is not None and holder.get("token") == self.mine["token"]:
                with contextlib.suppress(OSError, RunError):  # a full disk must not end the run here
                    write_json(self.path, {**self.mine, "heartbeat": time.time()})


def refuse_if_held(run_dir: Path) -> None:
    """Raises: RunError naming the process that has the run, when a living one has it."""
    if holder := living_holder(run_dir):
        raise RunError(f"run {run_dir}: process {holder['pid']} on {holder['host']} has it; wait for it or stop it")


def living_holder(run_dir: Path) -> dict[str, Any] | None:
    """What the lease of a run says, None where nobody living has it."""
    holder = _read(run_dir / "lease.json")
    return None if holder is None or _dead(holder) else holder


def _read(path: Path) -> dict[str, Any] | None:
    """A lease, None where there is none or it is damaged."""
    try:
        found = read_json(path)
        return {"host": str(found["host"]), "pid": int(found["pid"]), **found}
    except (RunError, KeyError, TypeError, ValueError):
        return None


def _dead(holder: dict[str, Any]) -> bool:
    if holder["host"] != socket.gethostname():
        return time.time() - float(holder.get("heartbeat", 0)) > STALE_S
    try:
        os.kill(holder["pid"], 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    began = _began(holder["pid"])
    return began is not None and began != holder.get("began", began)


def _began(pid: int) -> str | None:
    """When a process began, in ticks since boot; "never" for a zombie, None where the system does not tell."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return "never" if fields[0] in "ZX" else fields[19]
