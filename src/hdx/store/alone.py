"""What a run would have cost alone: its own work, and what it found done by others."""

from __future__ import annotations

from typing import Any

COUNTED = ("images_forwarded", "images_trained")


def seconds(record: dict[str, Any]) -> float:
    """Seconds of work of a run; `wall` was once that of the last process alone, and a resumed run had several."""
    spent = record.get("seconds", {})
    return float(max(spent.get("wall", 0.0), spent.get("sessions", 0.0) + spent.get("gain_predictor", 0.0)))


def alone(record: dict[str, Any]) -> dict[str, float | None]:
    """`images_forwarded`, `images_trained` and `seconds` as if the run had been the only one; None where that is not known."""
    shared = record.get("shared")
    if not isinstance(shared, dict):
        return dict.fromkeys((*COUNTED, "seconds"))
    found: dict[str, float | None] = {name: record[name] + shared[name] for name in COUNTED}
    return {**found, "seconds": None if shared["seconds"] is None else seconds(record) + shared["seconds"]}


def shares(record: dict[str, Any]) -> bool | None:
    """Whether other runs did anything for this one; None where that is not known."""
    shared = record.get("shared")
    return any(shared[name] for name in COUNTED) if isinstance(shared, dict) else None
