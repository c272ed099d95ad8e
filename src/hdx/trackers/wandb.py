"""Metrics to Weights & Biases."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Literal

from hdx.errors import ConfigError
from hdx.trackers._base import Tracker

MODES = ("disabled", "offline", "online")  # each sends more than the one before
OTHER_NAMES = {"dryrun": "offline", "run": "online"}  # which wandb had first, and still reads


def quieter(mode: Literal["offline", "online", "disabled"] | None, said: str) -> Literal["offline", "online", "disabled"]:
    """The mode of a run: of the option and $WANDB_MODE the one that sends less; offline where neither is given.

    Raises: ConfigError for a $WANDB_MODE that is none.
    """
    word = OTHER_NAMES.get(said.strip().lower(), said.strip().lower())
    if word not in ("", *MODES):
        raise ConfigError(f"WANDB_MODE={said}: expected one of {', '.join((*MODES, *OTHER_NAMES))}")
    given: list[Any] = [name for name in MODES if name in (mode, word)]
    return given[0] if given else "offline"


class WandbTracker(Tracker):
    """Weights & Biases; offline unless asked, with its files under the run directory.

    A resumed run has the same wandb id, so that it continues there. An offline run is sent with
    `wandb sync --append <run directory>/wandb/offline-run-*`.

    Source: Biewald 2020, "Experiment Tracking with Weights and Biases".

    Args:
        run_dir: the run directory.
        config: the resolved config.
        run_id: becomes wandb's id and name.
        mode: offline writes files only, online sends them too, disabled does neither; null follows $WANDB_MODE, and is offline
            without it. Where both are given, the one that sends less holds.
        project: wandb's project.
        entity: wandb's user or team; null is the account's default.
    """

    requires = "wandb"

    def __init__(
        self,
        run_dir: Path,
        config: dict[str, Any],
        run_id: str,
        *,
        mode: Literal["offline", "online", "disabled"] | None = None,
        project: str = "hdx",
        entity: str | None = None,
    ) -> None:
        super().__init__(run_dir, config, run_id)
        mode = quieter(mode, os.environ.get("WANDB_MODE", ""))
        try:
            import wandb

            self.run = wandb.init(
                id=re.sub(r"[^A-Za-z0-9_-]", "-", run_id)[:64],
                name=run_id,
                project=project,
                entity=entity,
                config=config,
                dir=str(run_dir),
                mode=mode,
                resume="allow" if mode == "online" else None,  # offline, equal ids are joined by `wandb sync`
                settings=wandb.Settings(silent=True, console="off", disable_git=True),
            )
        except Exception as error:  # wandb raises its own, OSError and more; none of them is a bug of hdx
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise ConfigError(
                f"tracker=wandb (mode {mode}) cannot start: {reason}.  (try tracker.mode=offline or tracker=csv)"
            ) from None
        self.run.define_metric("*", step_metric="step")

    def log(self, metrics: dict[str, float], step: int) -> None:
        """Numbers against hdx's own step: wandb's counter cannot go back when a run resumes."""
        self.run.log({**metrics, "step": step})

    def close(self, summary: dict[str, float]) -> None:
        """Write the summary and end wandb's process."""
        self.run.summary.update(summary)
        self.run.finish()
