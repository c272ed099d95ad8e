"""How much to believe each of two classifiers, chosen on validation samples: arrays in, numbers out, no dataset."""

from __future__ import annotations

import numpy as np
from scipy.special import log_softmax

ALPHAS = tuple(step / 20 for step in range(21))
BETAS = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 4.0)


def choose_mix(
    on_labels: np.ndarray, on_teacher: np.ndarray, labels: np.ndarray, alpha: float | None = None, beta: float | None = None
) -> dict[str, float]:
    """The mixture alpha softmax(on_labels) + (1 - alpha) softmax(on_teacher / beta) of the highest accuracy.

    Of equally accurate ones the one of lower mean cross-entropy is taken, then the one of smaller alpha and beta.

    Args:
        on_labels, on_teacher: [N, C] float64 logits of validation samples; labels: [N] positions of the logits.
        alpha, beta: fixed where given, else searched in `ALPHAS` and `BETAS`.
    Returns: `alpha`, `beta`, and accuracies on these samples: `acc` of the mixture, `acc_labels` and `acc_teacher` of either
        classifier alone; `n` samples.
    Raises: ValueError without samples.
    """
    if not len(labels):
        raise ValueError("Expected at least one validation sample")
    best: tuple[float, float, float, float] | None = None
    log_labels = log_softmax(on_labels, axis=1)
    for b in BETAS if beta is None else (beta,):
        log_teacher = log_softmax(on_teacher / b, axis=1)
        for a in ALPHAS if alpha is None else (alpha,):
            found = (*_judged(log_labels, log_teacher, labels, a), a, b)
            best = found if best is None or found < best else best
    assert best is not None
    alone = {f"acc_{name}": _accuracy(logits, labels) for name, logits in (("labels", on_labels), ("teacher", on_teacher))}
    return {"alpha": best[2], "beta": best[3], "acc": -best[0], **alone, "n": len(labels)}


def _judged(log_labels: np.ndarray, log_teacher: np.ndarray, labels: np.ndarray, alpha: float) -> tuple[float, float]:
    """Minus the accuracy, and the mean cross-entropy, of one mixture."""
    with np.errstate(divide="ignore"):
        log_p = np.logaddexp(np.log(alpha) + log_labels, np.log(1 - alpha) + log_teacher)
    return -_accuracy(log_p, labels), float(-log_p[np.arange(len(labels)), labels].mean())


def _accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float((scores.argmax(1) == labels).mean())
