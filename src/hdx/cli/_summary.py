"""The end of a run as text: a table of the sessions, the accuracy matrix, the curve, the metrics."""

from __future__ import annotations

from typing import Any

from hdx.store import alone

BARS = " ▁▂▃▄▅▆▇█"
WIDE = 12


def summary(record: dict[str, Any]) -> list[str]:
    """Lines to print after a run."""
    sessions = record["sessions"]
    if "episodes" in record:
        return ["", *_episodes(record), *_costs(record), f"run {record['run_dir']}"]
    lines = ["", *_table(sessions)]
    if len(sessions) > 1:
        lines += ["", f"accuracy over sessions  {curve([s['acc'] for s in sessions])}", ""]
        lines += _matrix(sessions) if len(sessions) <= WIDE else []
    return [*lines, *_metrics(record), f"run {record['run_dir']}"]


def curve(accuracies: list[float | None]) -> str:
    """Accuracies in [0, 1] as block characters, one a session."""
    return "".join(BARS[min(8, max(0, round(8 * (value or 0))))] for value in accuracies)


def percent(value: float | None) -> str:
    """`93.21`, or `-` where a metric is not defined."""
    return "-" if value is None else f"{100 * value:.2f}"


def fixed(value: float | None, digits: int, scale: float = 1.0) -> str:
    """A number with so many decimals, or `-` where it is not defined (a session without test images)."""
    return "-" if value is None else f"{scale * value:.{digits}f}"


def _table(sessions: list[dict[str, Any]]) -> list[str]:
    lines = ["session  classes  train   test  accuracy    nll    ece  seconds"]
    for s in sessions:
        lines.append(
            f"{s['index'] + 1:>7}  {s['classes_seen']:>7}  {s['n_train']:>5}  {s['n_test']:>5}  {percent(s['acc']):>7} %"
            f"  {fixed(s['nll'], 2):>5}  {fixed(s['ece'], 3):>5}  {s['seconds']['total']:>7.1f}"
        )
    return lines


def _matrix(sessions: list[dict[str, Any]]) -> list[str]:
    what = "classes" if all(s.get("new_classes", True) for s in sessions) else "test images"
    lines = [f"accuracy (%) on the {what} of session …", "after    " + "".join(f"{s['index'] + 1:>7}" for s in sessions)]
    for s in sessions:
        lines.append(f"{s['index'] + 1:>5}    " + "".join(f"{fixed(value, 1, 100):>7}" for value in s["acc_by_session"]))
    return [*lines, ""]


def _metrics(record: dict[str, Any]) -> list[str]:
    m = record["metrics"]
    first = (
        f"acc_last {percent(m['acc_last'])} %   acc_avg_inc {percent(m['acc_avg_inc'])} %   forgetting {percent(m['forgetting'])}"
    )
    if m.get("acc_harmonic") is not None:
        first += f"   base {percent(m['acc_base'])}   novel {percent(m['acc_novel'])}   harmonic {percent(m['acc_harmonic'])}"
    return [first, *_selection(record), *_costs(record)]


def _selection(record: dict[str, Any]) -> list[str]:
    """What the last session chose on its validation rows, where a method chose something."""
    found = record["sessions"][-1].get("selection")
    if not found:
        return []
    alone = "  ".join(f"{name[4:]} alone {percent(value)} %" for name, value in found.items() if name.startswith("acc_"))
    chosen = "  ".join(f"{name} {value:g}" for name, value in found.items() if name != "n" and not name.startswith("acc"))
    return [f"chosen on {found['n']:,} validation images: {chosen}   accuracy there {percent(found['acc'])} %  ({alone})"]


def _episodes(record: dict[str, Any]) -> list[str]:
    """One line for each metric over the episodes: mean, interval, quartiles."""
    m = record["metrics"]
    lines = [f"{'metric':<12} episodes   mean ± 95 % CI       quartiles over episodes"]
    for name, values in record["episodes"].items():
        ranked = sorted(values)
        quartiles = "  ".join(percent(ranked[round(share * (len(ranked) - 1))]) for share in (0.25, 0.5, 0.75))
        lines.append(f"{name:<12} {len(values):>8,}  {percent(m[name]):>6} ± {percent(m[f'{name}_ci95']):>5} %   {quartiles}")
    return [*lines, ""]


def _costs(record: dict[str, Any]) -> list[str]:
    m, seconds = record["metrics"], record["seconds"]
    predictor = f"   gain predictor {fixed(m['gain_predictor'], 3)}" if "gain_predictor" in m else ""
    taken = sorted({run for session in record["sessions"] for run in session.get("bodies_from", ())})
    total = alone.seconds(record)
    spent = "  ".join(
        f"{name} {value:.1f}" for name, value in seconds.items() if name not in ("sessions", "wall") and value >= 0.05
    )
    return [
        f"trainable parameters {record['trainable_parameters']:,}   images forwarded {record['images_forwarded']:,}   "
        f"images trained {record['images_trained']:,}{predictor}",
        *_kept(record),
        *([f"teacher asked about {record['teacher_images']:,} images"] if "teacher_images" in record else []),
        *([f"body trained by run {', '.join(taken)}"] if taken else []),
        *_shared(record),
        f"seconds {total:.1f}{f'  ({spent})' if spent else ''}",
    ]


def _shared(record: dict[str, Any]) -> list[str]:
    """What other runs had done for this one."""
    if not alone.shares(record):
        return []
    shared, total = record["shared"], alone.alone(record)["seconds"]
    took = "" if total is None else f", {shared['seconds']:.1f} s; as if alone {total:.1f} s"
    return [
        f"done by other runs: {shared['images_forwarded']:,} images forwarded, {shared['images_trained']:,} trained{took}",
    ]


def _kept(record: dict[str, Any]) -> list[str]:
    """What a run keeps beside the body; nothing for records of runs that did not count it."""
    if "head_state_bytes" not in record:
        return []
    memory = f"memory {record['memory_images']:,} images, {kilobytes(record['memory_bytes'])}; "
    return [f"{memory if record['memory_images'] else ''}head state {kilobytes(record['head_state_bytes'])}"]


def kilobytes(n: int) -> str:
    """`12.8 kB`: thousands of bytes."""
    return f"{n / 1000:,.1f} kB"
