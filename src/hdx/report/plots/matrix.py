"""The accuracy matrix: after each session, the accuracy on the classes of each session so far."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from hdx.errors import ConfigError, RunError
from hdx.report.groups import Group
from hdx.report.plots import style
from hdx.report.plots.sessions import over

MOST_PANELS = 4
MOST_NUMBERS = 11  # sessions up to which a cell has room for its number


def matrix(groups: list[Group], out: Path) -> str:
    """Mean matrix over seeds, a panel a group. Returns: a caption.

    Raises: ConfigError for more than four groups; RunError for runs of one session.
    """
    if len(groups) > MOST_PANELS:
        raise ConfigError(
            f"matrix: {len(groups)} groups, expected at most {MOST_PANELS}: narrow them with filters, --row or --column"
        )
    means = [mean_matrix(group) for group in groups]
    if all(len(mean) < 2 for mean in means):
        raise RunError("nothing to plot: a matrix needs runs of at least two sessions  (protocol=class_incremental)")
    columns = min(2, len(groups))
    rows = -(-len(groups) // columns)
    low = min(float(np.nanmin(mean)) for mean in means)
    low = 10 * np.floor(low / 10)
    width = style.COLUMN if columns == 1 else style.PAGE
    with style.figure(width, (2.7 if columns == 1 else 3.1) * rows, (rows, columns)) as (drawing, axes):
        image = None
        for panel, group, mean in zip(axes.flat, groups, means):
            image = _panel(panel, mean, low, group.label if len(groups) > 1 else "")
        for panel in list(axes.flat)[len(groups) :]:
            panel.set_visible(False)
        bar = drawing.colorbar(image, ax=axes, shrink=0.9, pad=0.02)
        bar.set_label("accuracy (%)")
        bar.outline.set_linewidth(0.6)
        style.save(drawing, out)
    return f"Accuracy after each session (row) on the classes of each session (column); {over(groups)}"


def mean_matrix(group: Group) -> np.ndarray:
    """[S, S] mean over seeds in percent; nan above the diagonal."""
    matrices = [_matrix(record) for record in group.records.values()]
    longest = max(map(len, matrices))
    return np.mean([each for each in matrices if len(each) == longest], axis=0)


def _matrix(record: dict[str, Any]) -> np.ndarray:
    sessions = record["sessions"]
    found = np.full((len(sessions), len(sessions)), np.nan)
    for i, session in enumerate(sessions):
        found[i, : i + 1] = [np.nan if value is None else 100 * value for value in session["acc_by_session"]]
    return found


def _panel(axes: Any, mean: np.ndarray, low: float, title: str) -> Any:
    """Light is high: the cividis map reads alike with and without red-green vision, and in grey."""
    n = len(mean)
    image = axes.imshow(mean, cmap="cividis", vmin=low, vmax=100)
    axes.grid(False)
    ticks = range(0, n, max(1, -(-n // MOST_NUMBERS)))
    axes.set(xlabel="classes of session", ylabel="after session", title=title)
    axes.set_xticks(list(ticks), [str(i + 1) for i in ticks])
    axes.set_yticks(list(ticks), [str(i + 1) for i in ticks])
    if n <= MOST_NUMBERS:
        for i in range(n):
            for j in range(i + 1):
                if not np.isnan(mean[i, j]):
                    dark = mean[i, j] < (low + 100) / 2
                    size = 7 if n <= 6 else 5
                    axes.text(j, i, f"{mean[i, j]:.0f}", ha="center", va="center", size=size, color="white" if dark else "black")
    return image
