"""Herding: the images of a class whose mean feature stays nearest to the mean of the class."""

from __future__ import annotations

import numpy as np

TIE = 1e-12  # sums differ by less between orders of summation, so that equal images tie on every machine


def herd(features: np.ndarray, n: int) -> np.ndarray:
    """Positions [min(n, N)] of a class's samples, chosen greedily (Rebuffi et al. 2017, iCaRL, eq. 4 and algorithm 4).

    The k-th sample is p_k = argmin_x ||mu - (phi(x) + sum_{j<k} phi(p_j)) / k|| among those not chosen yet, with features
    on the unit sphere and mu their mean; of equal ones the first. So the first m of n are the choice of m.
    In the authors' code mu and the running mean are not normalised again (their paper says that means are), and a sample may
    enter the sum more than once and is then skipped; here mu is as in their code and samples are distinct, as in the paper.

    Args:
        features: [N, D] of the samples of one class; a vector of zeros stays zero.
        n: how many to choose.
    """
    x = features.astype(np.float64)
    x /= np.maximum(np.linalg.norm(x, axis=1, keepdims=True), np.finfo(np.float64).tiny)  # [N, D]
    half = (x**2).sum(1) / 2  # 1/2, or 0 for a vector of zeros
    mean = x.mean(0) if len(x) else np.zeros(x.shape[1])
    chosen = np.zeros(min(n, len(x)), np.int64)
    wanted = np.zeros_like(mean)  # k mu - sum: what the next sample should be
    for k in range(len(chosen)):
        wanted += mean
        score = x @ wanted - half  # up to constants -1/2 ||k mu - sum - x||^2
        score[chosen[:k]] = -np.inf
        chosen[k] = np.argmax(score >= score.max() - TIE)
        wanted -= x[chosen[k]]
    return chosen
