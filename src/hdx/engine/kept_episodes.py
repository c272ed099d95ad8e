"""The episodes that were judged before a run was stopped: kept in its checkpoint folder, so that they are not judged again."""

from __future__ import annotations

import io
import logging
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hdx.engine import ranks
from hdx.errors import RunError
from hdx.metrics.episodes import IGNORED
from hdx.store.files import write_bytes

log = logging.getLogger("hdx")
REPORT_S = 0.5


class KeptEpisodes:
    """Predictions of single episodes, each a function of the episode alone, whichever rank or attempt judged it.

    Args:
        folder: of the checkpoints; every rank has a file of its own in it.
        digest: of the body; what another body said of an episode is of no use.
        n_episodes: of the protocol.
        every_s: seconds between two writes.
        report: told `{step, steps, work, value}` about twice a second; steps are episodes, as many as this rank has its share of.

    Attributes:
        trained_before: images of training steps that the episodes which were taken over cost.
    """

    def __init__(
        self, folder: Path, digest: str, n_episodes: int, every_s: float, report: Callable[[dict[str, Any]], None]
    ) -> None:
        self.folder, self.digest, self.n_episodes = folder, digest, n_episodes
        self.every_s, self.report = every_s, report
        self.trained_before = 0
        self.known: dict[str, np.ndarray] = {}  # name -> [n_episodes, queries], IGNORED where nothing is known
        self.trained = np.zeros(n_episodes, np.int64)
        self.done = 0
        self.saved = self.reported = time.monotonic()
        for file in sorted(folder.glob("episodes-*.npz")):
            self._read(file)

    def _read(self, file: Path) -> None:
        try:
            with np.load(file, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in arrays.files}
            trained, digest = found.pop("trained"), str(found.pop("digest"))
            if len(trained) != self.n_episodes or any(len(values) != self.n_episodes for values in found.values()):
                raise ValueError(f"{len(trained)} episodes, expected {self.n_episodes}")
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            log.warning("%s is damaged (%s); its episodes are judged again", file, " ".join(str(error).split()))
            return
        if digest != self.digest:
            return
        self.trained = np.maximum(self.trained, trained)
        for name, values in found.items():
            self._merge(name, np.arange(self.n_episodes), values)

    def _merge(self, name: str, numbers: np.ndarray, values: np.ndarray) -> None:
        table = self.known.get(name)
        if table is None or table.shape[1] < values.shape[1]:
            wider = np.full((self.n_episodes, values.shape[1]), IGNORED, np.int64)
            if table is not None:
                wider[:, : table.shape[1]] = table
            table = self.known[name] = wider
        given = values[:, 0] != IGNORED
        table[numbers[given], : values.shape[1]] = values[given]

    def take(self, numbers: np.ndarray, names: Sequence[str], n_query: int) -> list[np.ndarray] | None:
        """What was kept of episodes, [E, n_query] for each name; None unless that is all of them."""
        tables = [self.known.get(name) for name in names]
        if any(table is None or table.shape[1] < n_query or (table[numbers, 0] == IGNORED).any() for table in tables):
            return None
        self.trained_before += int(self.trained[numbers].sum())
        self._tell(len(numbers))
        return [table[numbers, :n_query] for table in tables if table is not None]

    def keep(self, numbers: np.ndarray, given: dict[str, np.ndarray], trained: int) -> None:
        """Note predictions [E, Q] of episodes, and the images that their training steps saw; written from time to time."""
        for name, values in given.items():
            self._merge(name, numbers, values)
        self.trained[numbers] = trained // len(numbers)
        self._tell(len(numbers))
        if time.monotonic() - self.saved >= self.every_s:
            self.save()

    def _tell(self, n: int) -> None:
        self.done += n
        if time.monotonic() - self.reported >= REPORT_S:
            self.reported = time.monotonic()
            share = min(self.n_episodes, self.done * ranks.world())
            self.report({"step": share, "steps": self.n_episodes, "work": "episodes", "value": None})

    def forget(self) -> None:
        """Remove the files: all is judged, and stands in the predictions."""
        for file in self.folder.glob("episodes-*.npz"):
            file.unlink(missing_ok=True)

    def save(self) -> None:
        """Write this rank's file; a disk that takes nothing ends no run."""
        buffer = io.BytesIO()
        np.savez_compressed(buffer, trained=self.trained, digest=np.array(self.digest), **self.known)  # type: ignore[arg-type]
        try:
            write_bytes(self.folder / f"episodes-{ranks.rank()}.npz", buffer.getvalue())
        except RunError as error:
            log.warning("%s", error)
        self.saved = time.monotonic()
