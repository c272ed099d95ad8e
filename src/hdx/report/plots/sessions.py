"""Curves over sessions: accuracy over the classes seen so far, and forgetting of earlier sessions' classes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hdx.errors import RunError
from hdx.metrics.intervals import mean_ci
from hdx.report.groups import Group
from hdx.report.plots import style
from hdx.report.table import MIN_FOR_INTERVAL

MOST_TICKS = 11
Curve = Callable[[dict[str, Any]], list[float]]
Places = Callable[[dict[str, Any]], list[int]]


def sessions(groups: list[Group], out: Path) -> str:
    """Accuracy after each session against the number of classes seen, or of sessions (`_places`). Returns: a caption."""
    caption = _curves(groups, out, accuracies, "accuracy over seen classes (%)", 0)
    return f"Accuracy over the classes seen so far after each session; {caption}"


def forgetting(groups: list[Group], out: Path) -> str:
    """Forgetting after each session, from the second on. Returns: a caption. Raises: RunError for runs of one session."""
    caption = _curves(groups, out, forgetting_curve, "forgetting (points)", 1)
    return f"Mean over earlier sessions' classes of best minus current accuracy; {caption}"


def accuracies(record: dict[str, Any]) -> list[float]:
    """Accuracy over all seen classes after each session, in percent."""
    return [100 * session["acc"] for session in record["sessions"]]


def forgetting_curve(record: dict[str, Any]) -> list[float]:
    """After each session i > 0 the mean over j < i of max_{j <= k < i} A[k, j] - A[i, j], in points (Chaudhry et al. 2018)."""
    rows = [[np.nan if value is None else value for value in session["acc_by_session"]] for session in record["sessions"]]
    curve = []
    for i in range(1, len(rows)):
        drops = [max(rows[k][j] for k in range(j, i)) - rows[i][j] for j in range(i)]
        curve.append(100 * float(np.nanmean(drops)))
    return curve


def _curves(groups: list[Group], out: Path, curve: Curve, label: str, first: int) -> str:
    style.check_series(len(groups))
    n_points = max(len(curve(record)) for group in groups for record in group.records.values())
    if n_points == 0:
        raise RunError("nothing to plot: forgetting needs runs of at least two sessions  (protocol=class_incremental)")
    xlabel, places = _places(groups)
    with style.figure() as (drawing, axes):
        for i, group in enumerate(groups):
            _band(axes[0, 0], group, curve, places, first, style.look(i), 0.18 if len(groups) <= 3 else 0.10)
        axes[0, 0].set(xlabel=xlabel, ylabel=label)
        _axes(axes[0, 0], {x for group in groups for each in group.records.values() for x in places(each)[first:]}, first)
        if first:
            axes[0, 0].axhline(0, color="#888888", linewidth=0.6)
        style.legend(drawing, axes[0, 0])
        style.save(drawing, out)
    return over(groups, "band")


def classes_seen(record: dict[str, Any]) -> list[int]:
    """After each session."""
    return [session["classes_seen"] for session in record["sessions"]]


def _places(groups: list[Group]) -> tuple[str, Places]:
    """Where sessions stand: at the classes seen, or, where some bring no new class (domains, streams), at their numbers."""
    if all(np.all(np.diff(classes_seen(record)) > 0) for group in groups for record in group.records.values()):
        return "classes seen", classes_seen
    return "session", lambda record: list(range(1, len(record["sessions"]) + 1))


def _axes(axes: Any, ticks: set[int], first: int) -> None:
    """Ticks at the sessions where they are few; intervals may go beyond what is possible, the axes do not."""
    if len(ticks) <= MOST_TICKS:
        axes.set_xticks(sorted(ticks))
    else:
        axes.xaxis.get_major_locator().set_params(integer=True)
    low, high = axes.get_ylim()
    axes.set_ylim(low if first else max(-1.5, low), min(101.5, high))


def _band(axes: Any, group: Group, curve: Curve, places: Places, first: int, look: style.Look, alpha: float) -> None:
    """Mean over seeds as a line, its confidence interval as a band; runs shorter than the longest are left out."""
    records = list(group.records.values())
    length = max(len(curve(record)) for record in records)
    complete = [record for record in records if len(curve(record)) == length]
    if length == 0:
        return
    x = places(complete[0])[first:]
    means = [mean_ci(values) for values in zip(*map(curve, complete))]
    y = np.array([mean.mean for mean in means])
    axes.plot(x, y, color=look.colour, marker=look.marker, linestyle=look.dash, label=group.label, markeredgewidth=0)
    if len(complete) >= MIN_FOR_INTERVAL:
        half = np.array([mean.half for mean in means])
        axes.fill_between(x, y - half, y + half, color=look.colour, alpha=alpha, linewidth=0)


def over(groups: list[Group], what: str = "") -> str:
    """What means are over, and the intervals that bands or bars (`what`) show: the end of a caption."""
    counts = sorted({len(group.records) for group in groups})
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    if not what or counts[-1] < MIN_FOR_INTERVAL:
        return f"mean over seeds, n = {n}."
    some = "" if counts[0] >= MIN_FOR_INTERVAL else f", where there are {MIN_FOR_INTERVAL} or more"
    return f"mean over seeds, n = {n}; {what}: 95 % confidence interval (Student t) over seeds{some}."
