"""One run's directory: config, status, session records, predictions, checkpoints, record."""

from __future__ import annotations

import io
import os
import shutil
import socket
import time
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from hdx.errors import RunError
from hdx.store.files import read_json, write_bytes, write_json


class RunDir:
    """Paths and atomic reads and writes of one run directory.

    A session is finished when `sessions/NN.json` exists; everything else of that session is written before it.

    Args:
        path: the directory, made on first write.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()

    @classmethod
    def of(cls, output_dir: Path | str, run_id: str) -> RunDir:
        """Where the run of an id is, or would be."""
        return cls(Path(output_dir) / "runs" / run_id)

    @property
    def config_file(self) -> Path:
        """The resolved config of the run."""
        return self.path / "config.yaml"

    @property
    def checkpoints(self) -> Path:
        """The folder of checkpoints."""
        return self.path / "checkpoint"

    @property
    def finished(self) -> bool:
        """Whether there is a record, whatever happened after it was written."""
        return (self.path / "record.json").exists()

    def status(self) -> dict[str, Any]:
        """`{state, pid, host, heartbeat, reason}`; "new" where nothing was written yet, "finished" where there is a record."""
        path = self.path / "status.json"
        status = read_json(path) if path.exists() else {"state": "new"}
        if self.finished:
            status["state"] = "finished"
        return status

    def set_status(self, state: str, **more: Any) -> None:
        """Write the state (running, finished, interrupted, failed) with the time."""
        about = {"pid": os.getpid(), "host": socket.gethostname(), "heartbeat": time.time()}
        write_json(self.path / "status.json", {"state": state, **about, **more})

    def forget_status(self) -> None:
        """Back to the state "new": what an earlier attempt came to is not the next one's."""
        (self.path / "status.json").unlink(missing_ok=True)

    def session_records(self) -> list[dict[str, Any]]:
        """Records of the finished sessions, from session 0 up to the first that is missing."""
        records: list[dict[str, Any]] = []
        while (path := self.path / "sessions" / f"{len(records):02d}.json").exists():
            records.append(read_json(path))
        return records

    def write_session(self, record: dict[str, Any]) -> None:
        """Commit a session: the one write that makes it finished."""
        write_json(self.path / "sessions" / f"{record['index']:02d}.json", record)

    def write_predictions(self, session: int, arrays: dict[str, np.ndarray]) -> None:
        """Per-sample predictions of a session, so that any metric can be recomputed later."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
        write_bytes(self.path / "predictions" / f"{session:02d}.npz", buffer.getvalue())

    def predictions(self, session: int) -> dict[str, np.ndarray]:
        """What `write_predictions` wrote. Raises: RunError when missing or damaged."""
        path = self.path / "predictions" / f"{session:02d}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return {name: arrays[name] for name in arrays.files}
        except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{path}: expected the predictions of session {session}, got {reason}; add --force") from None

    def record(self) -> dict[str, Any] | None:
        """The run record of a finished run, else None; its `run_dir` is where the directory is now."""
        path = self.path / "record.json"
        record = read_json(path) if path.exists() else None
        return {**record, "run_dir": str(self.path)} if record and "run_dir" in record else record

    def clear(self) -> None:
        """Forget results and checkpoints (`--force`); the config stays."""
        for name in ("record.json", "status.json", "metrics.csv"):
            (self.path / name).unlink(missing_ok=True)
        for name in (
            "sessions",
            "predictions",
            "checkpoint",
            "artefact",
        ):  # each gone at once: half of the sessions would be resumed
            shutil.rmtree(self.path / f".{name}.old", ignore_errors=True)
            if (self.path / name).exists():
                (self.path / name).rename(self.path / f".{name}.old")
                shutil.rmtree(self.path / f".{name}.old", ignore_errors=True)


def find_run(name: str, output_dir: Path) -> RunDir:
    """The run directory for a path, or for a run id (`exp/hash-sN`, or any unambiguous end of it) under `output_dir`.

    Raises: RunError when none or several match.
    """
    if (Path(name) / "config.yaml").exists():
        return RunDir(Path(name))
    runs = output_dir / "runs"
    matches = [path.parent for path in sorted(runs.glob("*/*/config.yaml")) if name in str(path.parent.relative_to(runs))]
    exact = [path for path in matches if str(path.relative_to(runs)) == name]
    if len(exact or matches) != 1:
        found = f"{len(matches)} runs match" if matches else "no run matches"
        raise RunError(f"run '{name}': {found} under {runs}; give the run directory or its full id (exp/hash-sN)")
    return RunDir((exact or matches)[0])
