"""The run record: what a run leaves behind, from its session records and predictions."""

from __future__ import annotations

from typing import Any

from hdx.metrics.episodes import episode_accuracy, matched_accuracy
from hdx.metrics.intervals import mean_ci
from hdx.protocols._base import Protocol
from hdx.store.rundir import RunDir


def metrics_of(run_dir: RunDir, sessions: list[dict[str, Any]], protocol: Protocol) -> dict[str, float | None]:
    """All metrics of a run, computed from the stored predictions (never from rounded or averaged numbers)."""
    if "n_episodes" in sessions[0]:
        return episode_metrics(episodes_of(run_dir, sessions))
    metrics = protocol.score([run_dir.predictions(session["index"]) for session in sessions])
    return metrics | {"gain_predictor": sessions[0].get("gain_predictor")}


def _of_teacher(sessions: list[dict[str, Any]]) -> dict[str, int]:
    """Images put through the teacher; what else it said came from the teacher cache. Empty without a teacher."""
    counts = [session["teacher_images"] for session in sessions if "teacher_images" in session]
    return {"teacher_images": sum(counts)} if counts else {}


def episodes_of(run_dir: RunDir, sessions: list[dict[str, Any]]) -> dict[str, list[float]]:
    """For each metric its value in every episode, from the stored predictions; empty for a run without episodes."""
    if "n_episodes" not in sessions[0]:
        return {}
    stored = run_dir.predictions(0)
    prediction, label = stored["prediction"], stored["label"]
    found = {"acc": episode_accuracy(prediction, label)}
    if "prediction_joint" in stored:
        found["acc_joint"] = episode_accuracy(stored["prediction_joint"], label)
    if sessions[0]["matched"]:
        found["acc_matched"] = matched_accuracy(prediction, label)
    return {name: values.tolist() for name, values in found.items()}


def episode_metrics(episodes: dict[str, list[float]]) -> dict[str, float | None]:
    """Means over episodes, and the half-widths of their 95 % intervals as `<name>_ci95`."""
    metrics: dict[str, float | None] = {}
    for name, values in episodes.items():
        about = mean_ci(values)
        metrics |= {name: about.mean, f"{name}_ci95": about.half if about.n > 1 else None}
    return metrics


def _shared(sessions: list[dict[str, Any]]) -> dict[str, float | None] | None:
    """What other runs had done for this one: images that they put through its body or trained on, and the seconds it took them,
    None where that is not known; None in all for sessions of before this was counted."""
    each = [session["shared"] for session in sessions if "shared" in session]
    if len(each) < len(sessions):
        return None
    seconds = [one["seconds"] for one in each]
    counts = {name: sum(one[name] for one in each) for name in ("images_forwarded", "images_trained")}
    return {**counts, "seconds": None if None in seconds else round(sum(seconds), 3)}


def run_record(run_dir: RunDir, about: dict[str, Any], sessions: list[dict[str, Any]], protocol: Protocol) -> dict[str, Any]:
    """The document that `hdx train --json` prints; counts and seconds add up over interruptions."""
    phases = sorted({name for session in sessions for name in session["seconds"]} - {"total"})
    predictor = sessions[0].get("gain_predictor_seconds", 0.0)
    seconds = {name: round(sum(session["seconds"].get(name, 0.0) for session in sessions), 3) for name in phases}
    seconds["sessions"] = round(sum(session["seconds"]["total"] for session in sessions), 3)
    seconds["gain_predictor"] = predictor
    return {
        **about,
        "state": "finished",
        "metrics": metrics_of(run_dir, sessions, protocol),
        **({"episodes": episodes} if (episodes := episodes_of(run_dir, sessions)) else {}),
        "sessions": sessions,
        "images_forwarded": sum(s["images_forwarded"] for s in sessions) + sessions[0].get("gain_predictor_images", 0),
        "images_trained": sum(session["images_trained"] for session in sessions),
        **_of_teacher(sessions),
        "shared": _shared(sessions),
        **{name: max(session.get(name, 0) for session in sessions) for name in ("memory_images", "memory_bytes")},
        "seconds": seconds,
    }
