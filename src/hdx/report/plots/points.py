"""A metric against what it costs: trainable parameters, seconds or images; and against shots."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from hdx.errors import RunError
from hdx.metrics.intervals import mean_ci
from hdx.report import metrics
from hdx.report.groups import Group, distinguish
from hdx.report.plots import style
from hdx.report.plots.sessions import over
from hdx.report.table import Estimate, estimate
from hdx.store.alone import alone, seconds

SIDE = 0.02  # of the axis between two at the same place
COSTS: dict[str, tuple[str, Callable[[dict[str, Any]], float]]] = {
    "seconds": ("seconds of work as if alone", lambda record: _alone(record, "seconds")),
    "images": (
        "images forwarded or trained on as if alone",
        lambda record: _alone(record, "images_forwarded") + _alone(record, "images_trained"),
    ),
}


def _alone(record: dict[str, Any], name: str) -> float:
    """A cost as if no other run had done a part of the work; as it was where that is not known."""
    found = alone(record)[name]
    return float(found if found is not None else seconds(record) if name == "seconds" else record[name])


def parameters(groups: list[Group], out: Path, metric: metrics.Metric) -> str:
    """A metric against trainable parameters, a point a group. Returns: a caption."""
    _scatter(groups, out, metric, lambda record: float(record["trainable_parameters"]), "trainable parameters")
    return f"{_named(metric)} against trainable parameters of the body; {over(groups, 'bars')}"


def cost(groups: list[Group], out: Path, metric: metrics.Metric, unit: str) -> str:
    """A metric against seconds or images, a point a group. Returns: a caption."""
    label, value = COSTS[unit]
    _scatter(groups, out, metric, value, label)
    return f"{_named(metric)} against {label}; {over(groups, 'bars')}"


def shots(groups: list[Group], out: Path, metric: metrics.Metric) -> str:
    """A metric against training images a class, a line for each group of everything else. Returns: a caption.

    Raises: RunError when no group has a number of shots.
    """
    series = _by_shots(having(groups, metric))
    style.check_series(len(series))
    with style.figure() as (drawing, axes):
        ticks = sorted({k for points in series.values() for k in points})
        for i, (label, points) in enumerate(series.items()):
            known = {k: point for k, group in sorted(points.items()) if (point := _estimate(group, metric))}
            beside = _step(ticks) ** ((i - (len(series) - 1) / 2) / 2)
            _line(axes[0, 0], label, known, style.look(i), beside)
        axes[0, 0].set(xlabel="training images a class", ylabel=_axis(metric), xscale="log")
        _plain_ticks(axes[0, 0], ticks)
        style.legend(drawing, axes[0, 0])
        style.save(drawing, out)
    return f"{_named(metric)} against training images a class; {over(groups, 'bars')}"


def having(groups: list[Group], metric: metrics.Metric) -> list[Group]:
    """The groups of runs that have a metric. Raises: RunError when none has, naming what they have."""
    found = [group for group in groups if _estimate(group, metric) is not None]
    if not found:
        records = [record for group in groups for record in group.records.values()]
        known = [name for name in metrics.METRICS if any(record["metrics"].get(name) is not None for record in records)]
        raise RunError(f"nothing to plot: none of these runs has {metric.name}; they have {', '.join(known)}  (--metric …)")
    return found


def _by_shots(groups: list[Group]) -> dict[str, dict[int, Group]]:
    """Label of everything but the shots -> shots -> group."""
    having = [group for group in groups if group.options.get("protocol.shots")]
    if not having:
        raise RunError("nothing to plot: no run has protocol.shots; give runs with several of them  (protocol.shots=5)")
    alike: dict[str, list[Group]] = {}
    for group in having:
        rest = {key: value for key, value in group.options.items() if key != "protocol.shots"}
        alike.setdefault(repr(sorted((key, repr(value)) for key, value in rest.items() if key not in ("seed",))), []).append(
            group
        )
    first = [members[0] for members in alike.values()]
    labels = [group.series for group in first]
    if "" in labels or len(set(labels)) < len(labels):
        others = [{key: value for key, value in group.options.items() if key != "protocol.shots"} for group in first]
        labels = distinguish(others, [group.label for group in first])
    return {label: {int(g.options["protocol.shots"]): g for g in members} for label, members in zip(labels, alike.values())}


def _line(axes: Any, label: str, points: dict[int, Estimate], look: style.Look, beside: float) -> None:
    """A series; `beside` is the factor by which it stands beside the others, so that bars do not hide each other."""
    x, y = [k * beside for k in points], [point.mean for point in points.values()]
    axes.plot(x, y, color=look.colour, marker=look.marker, linestyle=look.dash, label=label, markeredgewidth=0)
    for k, point in points.items():
        _bar(axes, k * beside, point, look)


def _bar(axes: Any, x: float, point: Estimate, look: style.Look) -> None:
    if point.half is not None:
        axes.errorbar(x, point.mean, point.half, fmt="none", ecolor=look.colour, elinewidth=0.8, capsize=2, capthick=0.8)


def _scatter(
    groups: list[Group], out: Path, metric: metrics.Metric, cost_of: Callable[[dict[str, Any]], float], label: str
) -> None:
    groups = having(groups, metric)
    style.check_series(len(groups))
    costs = [mean_ci([cost_of(record) for record in group.records.values()]).mean for group in groups]
    positive = [value for value in costs if value > 0]
    nothing = min(positive) / 5 if positive else 1.0  # where a logarithmic axis puts zero
    shown = [value if value > 0 else nothing for value in costs]
    with style.figure() as (drawing, axes):
        for i, (group, x) in enumerate(zip(groups, _side_by_side(shown))):
            point, look = _estimate(group, metric), style.look(i)
            if point is not None:
                axes[0, 0].plot(
                    x, point.mean, color=look.colour, marker=look.marker, linestyle="none", label=group.label,
                    markersize=5, markeredgewidth=0,
                )  # fmt: skip
                _bar(axes[0, 0], x, point, look)
        axes[0, 0].set(xlabel=label, ylabel=_axis(metric))
        _cost_axis(axes[0, 0], costs, nothing)
        style.legend(drawing, axes[0, 0])
        style.save(drawing, out)


def _side_by_side(costs: list[float]) -> list[float]:
    """Points of one cost stand beside each other instead of on each other."""
    step = _step(costs)
    alike = [[k for k, other in enumerate(costs) if abs(other - value) <= 0.02 * value] for value in costs]
    return [value * step ** (same.index(i) - (len(same) - 1) / 2) for i, (value, same) in enumerate(zip(costs, alike))]


def _step(values: Sequence[float]) -> float:
    """A factor that is a small part of a logarithmic axis over these values."""
    return max(max(values) / min(values), 4.0) ** SIDE


def _cost_axis(axes: Any, costs: list[float], nothing: float) -> None:
    """Logarithmic where costs span more than a factor of ten; a zero stands left of everything and is called 0."""
    positive = [value for value in costs if value > 0]
    axes.margins(x=0.08, y=0.12)
    if not positive or (len(positive) == len(costs) and max(positive) < 10 * min(positive)):
        axes.set_xlim(0, 1.12 * max(costs) or 1)
        axes.xaxis.get_major_locator().set_params(nbins=6)
        axes.xaxis.set_major_formatter(lambda value, _: _short(value))
        return
    from matplotlib.ticker import FixedLocator

    axes.set_xscale("log")
    zero = [nothing] if len(positive) < len(costs) else []
    axes.xaxis.set_major_locator(FixedLocator([*zero, *_steps(min(positive), max(positive))]))
    axes.xaxis.set_major_formatter(lambda value, _: "0" if zero and value == nothing else _short(value))
    axes.minorticks_off()
    axes.set_xlim(min([*zero, *positive]) / 1.6, max(positive) * 1.6)
    if zero:
        axes.axvline(nothing * 1.8, color="#888888", linewidth=0.6, linestyle=(0, (1, 2)))


def _steps(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis: powers of ten, and twice and five times them where these are few."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = (1, 2, 5) if high < 150 * low else (1,)
    ticks = [step * 10.0**power for power in decades for step in steps]
    return [tick for tick in ticks if low / 1.5 <= tick <= high * 1.5]


def _short(value: float) -> str:
    """`0.5`, `200`, `5k`, `2M`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:g}{letter}"
    return f"{value:g}"


def _plain_ticks(axes: Any, values: list[int]) -> None:
    axes.set_xticks(values, [str(value) for value in values])
    axes.minorticks_off()


def _estimate(group: Group, metric: metrics.Metric) -> Estimate | None:
    values = [value for record in group.records.values() if (value := metric.of(record)) is not None]
    return estimate(values)


def _axis(metric: metrics.Metric) -> str:
    unit = f" ({metric.unit})" if metric.unit else ""
    return f"{_WORDS.get(metric.name, metric.name.replace('_', ' '))}{unit}"


def _named(metric: metrics.Metric) -> str:
    return _WORDS.get(metric.name, metric.name.replace("_", " ")).capitalize()


_WORDS = {
    "acc_last": "last accuracy",
    "acc_avg_inc": "average incremental accuracy",
    "acc_task_mean": "mean accuracy of sessions",
    "acc_base": "accuracy on base classes",
    "acc_novel": "accuracy on novel classes",
    "acc_harmonic": "harmonic mean accuracy",
    "pd": "performance drop",
    "bwt": "backward transfer",
    "nll_last": "negative log-likelihood",
    "ece_last": "calibration error",
}
