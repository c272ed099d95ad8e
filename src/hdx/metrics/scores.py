"""All metrics of a run of sessions, from its stored predictions alone."""

from __future__ import annotations

import numpy as np

from hdx.metrics.classification import ece, nll, share
from hdx.metrics.incremental import (
    acc_avg_inc,
    acc_task_mean,
    accuracy_matrix,
    bwt,
    forgetting,
    harmonic_mean,
    performance_drop,
)


def scores(stored: list[dict[str, np.ndarray]]) -> dict[str, float | None]:
    """Accuracies, what was forgotten, and how well probabilities fit.

    Args:
        stored: of each session `label`, `prediction`, `session_of_label`, `log_p_label` and `confidence`, each [N].
    """
    correct = [each["prediction"] == each["label"] for each in stored]
    matrix = accuracy_matrix(correct, [each["session_of_label"] for each in stored])
    accuracies = np.array([share(hits) for hits in correct])
    metrics: dict[str, float | None] = {
        "acc_last": float(accuracies[-1]),
        "acc_avg_inc": acc_avg_inc(accuracies),
        "acc_task_mean": acc_task_mean(matrix),
        "forgetting": forgetting(matrix),
        "bwt": bwt(matrix),
        "pd": performance_drop(accuracies),
        "nll_last": nll(stored[-1]["log_p_label"]),
        "ece_last": ece(stored[-1]["confidence"], correct[-1]),
    }
    if len(stored) > 1:
        first = stored[-1]["session_of_label"] == 0
        base, novel = share(correct[-1][first]), share(correct[-1][~first])
        metrics |= {"acc_base": base, "acc_novel": novel, "acc_harmonic": harmonic_mean(base, novel)}
    return metrics
