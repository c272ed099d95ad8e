"""Metrics to TensorBoard event files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hdx.trackers._base import Tracker


class TensorBoardTracker(Tracker):
    """TensorBoard event files in the folder `tensorboard` of the run directory.

    Where a resumed run logs a step again, TensorBoard is told to hide the earlier attempt's events from that step on.

    Source: Abadi et al. 2015, "TensorFlow" (TensorBoard), through torch.utils.tensorboard.
    """

    requires = "tensorboard"
    extra = "tensorboard"

    def __init__(self, run_dir: Path, config: dict[str, Any], run_id: str) -> None:
        super().__init__(run_dir, config, run_id)
        from torch.utils.tensorboard import SummaryWriter

        self._make_writer = SummaryWriter
        self._writer: Any = None

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Each number as a scalar."""
        if self._writer is None:
            self._writer = self._make_writer(str(self.run_dir / "tensorboard"), purge_step=step)
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def close(self, summary: dict[str, float]) -> None:
        """The summary under `summary/`, at step 0."""
        if self._writer is None:
            self._writer = self._make_writer(str(self.run_dir / "tensorboard"))
        for name, value in summary.items():
            self._writer.add_scalar(f"summary/{name}", value, 0)
        self._writer.close()
        self._writer = None
