"""Class-incremental metrics from the accuracy matrix A: A[i, j] = accuracy after session i on the classes of session j.

Entries with j > i are nan: those classes are not among the logits yet.
"""

from __future__ import annotations

import numpy as np


def accuracy_matrix(correct: list[np.ndarray], session_of: list[np.ndarray]) -> np.ndarray:
    """A [S, S] from, for each session i, `correct` [N_i] bool and the session each test image's class came in [N_i].

    A class group without test images gives nan.
    """
    n_sessions = len(correct)
    matrix = np.full((n_sessions, n_sessions), np.nan)
    for i, (hits, source) in enumerate(zip(correct, session_of)):
        for j in range(i + 1):
            members = source == j
            if members.any():
                matrix[i, j] = hits[members].mean()
    return matrix


def acc_avg_inc(session_accuracies: np.ndarray) -> float:
    """Mean over sessions of the accuracy over all seen classes (average incremental accuracy, Rebuffi et al. 2017)."""
    return float(np.mean(session_accuracies))


def acc_task_mean(matrix: np.ndarray) -> float:
    """Mean over session groups of the accuracy after the last session (each group weighs alike)."""
    return _mean_defined(matrix[-1])


def forgetting(matrix: np.ndarray) -> float | None:
    """Mean over old groups j of max_{i<last} A[i, j] - A[last, j] (Chaudhry et al. 2018); None with one session."""
    if len(matrix) < 2:
        return None
    drops = [np.nanmax(matrix[j:-1, j]) - matrix[-1, j] for j in range(len(matrix) - 1) if not np.isnan(matrix[-1, j])]
    return float(np.mean(drops)) if drops else None


def bwt(matrix: np.ndarray) -> float | None:
    """Backward transfer: mean over old groups of A[last, j] - A[j, j] (Lopez-Paz & Ranzato 2017); None with one session."""
    if len(matrix) < 2:
        return None
    return _mean_defined(matrix[-1, :-1] - np.diagonal(matrix)[:-1])


def performance_drop(session_accuracies: np.ndarray) -> float:
    """PD of few-shot class-incremental learning: first minus last accuracy over the seen classes."""
    return float(session_accuracies[0] - session_accuracies[-1])


def harmonic_mean(a: float, b: float) -> float:
    """2ab / (a + b), 0 where both are 0, nan where one is nan (there are no novel test images)."""
    return 2 * a * b / (a + b) if a + b != 0 else 0.0


def _mean_defined(values: np.ndarray) -> float:
    """Mean of what is not nan, nan where nothing is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")
