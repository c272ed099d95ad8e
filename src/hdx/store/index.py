"""The index over run directories: a cache of their rows that may be deleted, damaged or locked at any time without loss.

Directories are the truth. A row is kept in `<output_dir>/index/runs.sqlite` with a stamp of the times and sizes of the
run's files; a refresh looks at the stamps of all runs and reads the changed ones only. Where the file cannot be used, the
same answer comes from the directories, more slowly.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import sqlite3
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from hdx.store import lease
from hdx.store.rows import read_row

log = logging.getLogger("hdx")

VERSION = 5  # of the rows; another one means that they are read again
SETTLED_S = 2.0  # what changed more recently than this may change again within the resolution of a file's time
WAIT_S = 5.0
STATES = ("finished", "running", "interrupted", "failed", "new")


class Index:
    """All runs under an output directory.

    Args:
        output_dir: the folder that holds `runs/`; it need not exist.
    """

    def __init__(self, output_dir: Path | str) -> None:
        self.output_dir = Path(output_dir).expanduser().resolve()
        self.file = self.output_dir / "index" / "runs.sqlite"
        self._rows: dict[str, tuple[str, dict[str, Any]]] = {}  # run_id -> (stamp, row)

    def refresh(self) -> Index:
        """Bring the rows up to date with the directories. Returns: itself."""
        if not self._rows:
            self._rows = self._stored()
        now = time.time()
        found = dict(_stamps(self.output_dir / "runs", now))
        gone = [run_id for run_id in self._rows if run_id not in found]
        changed = [run_id for run_id, stamp in found.items() if not stamp or self._rows.get(run_id, ("",))[0] != stamp]
        for run_id in gone:
            del self._rows[run_id]
        for run_id in changed:
            row = read_row(self.output_dir / "runs" / run_id)
            del row["dir"]  # the file says nothing of where it lies
            self._rows[run_id] = (found[run_id], row)
        if changed or gone:
            self._store([run_id for run_id in changed if found[run_id]], gone)
        return self

    def runs(self, where: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
        """Rows of all runs that fit, sorted by run_id; a call of `refresh` comes before.

        Args:
            where: by key what its value must be: equal to a value, among those of a list, tuple or set, or such that a
                function of it is true. A key is one of those below, a metric, or a dotted config option (see `value`).

        Returns: dicts with the keys

        - `run_id`, `exp`, `group` (hash that seeds share), `seed`, `dir` (absolute);
        - `state` (finished, running, interrupted, failed, new) and `reason` (one line, None where all is well);
          a running run whose process is gone is interrupted;
        - `created`, `started`, `finished`, `updated`: seconds since 1970; `started` is of the last attempt; `age`: seconds since
          the end or the last sign of life;
        - `dataset`, `backbone`, `pool`, `adapter`, `head`, `method`, `memory`, `protocol`, `teacher`, `loss`, `trainer`: names of
          the chosen configs;
        - `exchanged`: parts that are not those of the preset, in words, as `adapter (not film)`; None where there is none;
        - `options`: dotted config option -> value, e.g. `options["head.ridge"]`; `head.name` is the component behind the choice;
        - `metrics`: name -> value or None; `session_accuracies`: one a session; `n_sessions`, `sessions_done`;
        - `images_forwarded_alone`, `images_trained_alone`, `seconds_alone`: as if no other run had done a part of it
          (`hdx.store.alone`), and `shares`, whether one had;
        - `trainable_parameters`, `head_parameters`, `images_forwarded`, `images_trained`, `classes`, `image_size`;
        - `seconds` (of work, interruptions left out), `peak_memory_mb`, `device`, `ranks`, `precision`, `host`, `pid`;
        - `progress`: what a running run says of itself (session, sessions, epoch, epochs), else empty.

        What was not measured yet is None.
        """
        now = time.time()
        home = self.output_dir / "runs"  # wherever the folder was moved to
        rows = [self._living({**row, "dir": str(home / row["run_id"])}, now) for _, (_, row) in sorted(self._rows.items())]
        return [row for row in rows if fits(row, where or {})]

    def _living(self, row: dict[str, Any], now: float) -> dict[str, Any]:
        """The row with what depends on the time of asking: its age, and whether its process lives."""
        row["age"] = None if row["updated"] is None else max(0.0, now - row["updated"])
        if row["state"] in ("running", "new", "interrupted"):
            holder = lease.living_holder(Path(row["dir"]))
            if holder is not None:
                row |= {"state": "running", "reason": None, "host": holder["host"], "pid": holder["pid"]}
                row["age"] = max(0.0, now - max(row["updated"] or 0.0, float(holder.get("heartbeat", 0.0))))
            elif row["state"] == "running":
                row |= {"state": "interrupted", "reason": f"process {row['pid']} on {row['host']} is gone"}
        return row

    def _stored(self) -> dict[str, tuple[str, dict[str, Any]]]:
        """The rows of the file; none where there is no file. A damaged file is removed with a warning."""
        if not self.file.exists():
            return {}
        try:
            with self._open() as database:
                version = database.execute("pragma user_version").fetchone()[0]
                if version != VERSION:
                    return {}
                kept = database.execute("select * from runs").fetchall()
            if any(checksum != _checksum(run_id, stamp, row) for run_id, stamp, row, checksum in kept):
                raise sqlite3.DatabaseError("a row does not match its checksum")
            return {run_id: (stamp, json.loads(row)) for run_id, stamp, row, _ in kept}
        except sqlite3.OperationalError as error:
            if not _damaged(error):  # another process writes it, or it may not be read: the directories tell as much
                log.debug("index %s: %s", self.file, error)
                return {}
            self._discard(error)
        except (sqlite3.DatabaseError, ValueError, TypeError, OSError) as error:
            self._discard(error)
        return {}

    def _store(self, changed: list[str], gone: list[str]) -> None:
        """Write rows to the file, in one transaction; what cannot be written is read again next time."""
        kept = [(run_id, self._rows[run_id][0], json.dumps(self._rows[run_id][1], default=str)) for run_id in changed]
        rows = [(*each, _checksum(*each)) for each in kept]
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as database, database:
                database.execute("begin immediate")
                _prepare(database)
                database.executemany("insert or replace into runs values (?, ?, ?, ?)", rows)
                database.executemany("delete from runs where run_id = ?", [(run_id,) for run_id in gone])
        except sqlite3.OperationalError as error:
            log.debug("index %s: not written (%s)", self.file, error)
        except sqlite3.DatabaseError as error:
            self._discard(error)
        except OSError as error:  # an output directory that may only be read
            log.debug("index %s: not written (%s)", self.file, error)

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """A connection; no fsync, since nothing is lost with the file."""
        database = sqlite3.connect(self.file, timeout=WAIT_S, isolation_level=None)
        try:
            database.execute("pragma synchronous = off")
            yield database
        finally:
            database.close()

    def _discard(self, error: Exception) -> None:
        log.warning("index %s is damaged (%s); building it again from the run directories", self.file, error)
        for path in (self.file, self.file.with_name(f"{self.file.name}-journal")):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)


def value(row: Mapping[str, Any], key: str) -> Any:
    """What a row has under a key: a key of its own, a metric, or a dotted config option; None where it has none."""
    if key in row:
        return row[key]
    return row["metrics"][key] if key in row["metrics"] else row["options"].get(key)


def fits(row: Mapping[str, Any], where: Mapping[str, Any]) -> bool:
    """Whether a row is what `Index.runs` is asked for."""
    for key, wanted in where.items():
        found = value(row, key)
        if callable(wanted):
            good = bool(wanted(found))
        elif isinstance(wanted, (list, tuple, set, frozenset)) and not isinstance(found, list):
            good = found in wanted
        else:
            good = found == wanted
        if not good:
            return False
    return True


def _prepare(database: sqlite3.Connection) -> None:
    if database.execute("pragma user_version").fetchone()[0] != VERSION:
        database.execute("drop table if exists runs")
        database.execute(f"pragma user_version = {VERSION}")
    database.execute(
        "create table if not exists runs (run_id text primary key, stamp text not null, row text not null, checksum int not null)"
    )


def _checksum(*parts: str) -> int:
    return zlib.crc32("\n".join(parts).encode())


def _damaged(error: sqlite3.OperationalError) -> bool:
    text = str(error)
    return not any(word in text for word in ("locked", "unable to open", "readonly", "disk I/O"))


def _stamps(runs: Path, now: float) -> Iterator[tuple[str, str]]:
    """`(run_id, stamp)` of every run directory; the stamp is empty where the run changed just now."""
    for exp in _folders(runs):
        for run in _folders(exp.path):
            try:
                config = os.stat(f"{run.path}/config.yaml")  # noqa: PTH116 - Path objects cost half of the time here
            except OSError:
                continue
            times = [run.stat().st_mtime_ns, config.st_mtime_ns, config.st_size]
            for name in ("record.json", "status.json", "sessions"):
                try:
                    found = os.stat(f"{run.path}/{name}")  # noqa: PTH116
                    times += [found.st_mtime_ns, found.st_size]
                except OSError:
                    times += [0, 0]
            fresh = max(times[0], times[1], times[3], times[5], times[7]) > (now - SETTLED_S) * 1e9
            yield f"{exp.name}/{run.name}", "" if fresh else " ".join(map(str, times))


def _folders(path: Path | str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if not entry.name.startswith(".") and entry.is_dir()]
    except OSError:
        return []
