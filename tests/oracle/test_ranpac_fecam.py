"""RanPAC against scikit-learn's ridge regression, FeCAM against a loop over classes and samples, and both on several ranks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from safetensors.torch import load_file, save_file
from sklearn.datasets import load_digits
from sklearn.linear_model import Ridge

from hdx.heads import _penalty
from hdx.heads.fecam import FeCAM
from hdx.heads.ranpac import RanPAC


def digits(n: int = 600):
    x, y = load_digits(return_X_y=True)
    return torch.from_numpy((x / 16).astype(np.float32)), torch.from_numpy(y), n


def fitted(head, x, y, c: int = 10):
    head.expand(c)
    head.update(x, y)
    return head


def hidden(head: RanPAC, x: torch.Tensor) -> np.ndarray:
    return np.maximum(x.numpy().astype(np.float64) @ head.projection.numpy().astype(np.float64), 0)


@pytest.mark.parametrize("projections", [200, 900])  # fewer than the samples, and more
@pytest.mark.parametrize("ridge", [1.0, 1e3])
def test_ranpac_is_sklearns_ridge_regression_without_intercept(projections, ridge):
    x, y, n = digits()
    head = fitted(RanPAC(64, projections=projections, ridge=ridge), x[:n], y[:n])
    oracle = Ridge(alpha=ridge, fit_intercept=False, solver="cholesky").fit(hidden(head, x[:n]), np.eye(10)[y[:n]])
    expected = oracle.predict(hidden(head, x[n:]))
    ours = head(x[n:]).numpy()
    np.testing.assert_allclose(ours, expected, atol=1e-4)
    assert (ours.argmax(1) == expected.argmax(1)).mean() > 0.999


@pytest.mark.parametrize("projections", [200, 900])
def test_ranpac_s_rule_is_the_paper_s_on_a_fifth_held_out(projections):
    x, y, n = digits()
    head = fitted(RanPAC(64, projections=projections), x[:n], y[:n])
    head.merge_ranks()
    h, targets, held = hidden(head, x[:n]), np.eye(10)[y[:n]], _penalty.held_out(x[:n]).numpy()
    errors = []
    for penalty in 10.0 ** np.arange(-8, 9):
        gram = h[~held].T @ h[~held] + penalty * np.eye(projections)
        weights = np.linalg.lstsq(gram, h[~held].T @ targets[~held], rcond=None)[0]
        errors.append(((targets[held] - h[held] @ weights) ** 2).sum())
    assert head.chosen.item() == 10.0 ** (np.argmin(errors) - 8)
    assert (head(x[n:]).argmax(1) == y[n:]).double().mean() > 0.9


def fecam_by_loops(x, y, test, c, tukey, alpha1, alpha2):
    x, test = x.numpy().astype(np.float64), test.numpy().astype(np.float64)
    distances = np.zeros((len(test), c))
    d = x.shape[1]
    for k in range(c):
        own = x[y.numpy() == k]
        s = np.cov((own**tukey).T)
        on = np.mean(np.diag(s))
        off = (s.sum() - np.trace(s)) / (d * d - d)
        s = s + alpha1 * on * np.eye(d) + alpha2 * off * (1 - np.eye(d))
        spread = np.sqrt(np.diag(s))
        precision = np.linalg.pinv(s / np.outer(spread, spread))
        mean = own.mean(0) ** tukey
        mean = mean / np.linalg.norm(mean)
        for i, row in enumerate(test):
            u = row**tukey
            u = u / np.linalg.norm(u) - mean
            distances[i, k] = u @ precision @ u
    return -distances


@pytest.mark.parametrize(("tukey", "alpha1", "alpha2"), [(0.5, 1.0, 1.0), (1.0, 1.0, 0.0), (0.5, 3.0, 3.0)])
def test_fecam_is_the_formula(tukey, alpha1, alpha2):
    x, y, n = digits()
    head = fitted(FeCAM(64, tukey=tukey, alpha1=alpha1, alpha2=alpha2), x[:n], y[:n])
    test = x[n : n + 60]
    expected = fecam_by_loops(x[:n], y[:n], test, 10, tukey, alpha1, alpha2)
    np.testing.assert_allclose(head(test).numpy(), expected, rtol=1e-9, atol=1e-12)
    assert (head(x[n:]).argmax(1) == y[n:]).double().mean() > 0.9


def test_shared_fecam_has_the_pooled_covariance():
    x, y, n = digits()
    head = fitted(FeCAM(64, shared=True), x[:n], y[:n])
    z, labels = np.sqrt(x[:n].numpy().astype(np.float64)), y[:n].numpy()
    pooled = sum((z[labels == c] - z[labels == c].mean(0)).T @ (z[labels == c] - z[labels == c].mean(0)) for c in range(10))
    s = pooled / (n - 10)
    s = s + np.mean(np.diag(s)) * np.eye(64) + (s.sum() - np.trace(s)) / (64 * 63) * (1 - np.eye(64))
    expected = s / np.sqrt(np.outer(np.diag(s), np.diag(s)))
    np.testing.assert_allclose(head.correlations()[0].numpy(), expected, atol=1e-12)
    assert (head(x[n:]).argmax(1) == y[n:]).double().mean() > 0.85


HEADS = {
    "rule, few samples": lambda: RanPAC(64, projections=900),
    "rule, many samples": lambda: RanPAC(64, projections=100),
    "ridge": lambda: RanPAC(64, projections=100, ridge=10.0),
    "fecam": lambda: FeCAM(64),
}


def sessions() -> list[torch.Tensor]:
    return [torch.arange(0, 250), torch.arange(250, 270), torch.arange(270, 600)]


def work(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=world)
    x, y, _ = digits()
    logits = {}
    for name, make in HEADS.items():
        head = make()
        head.expand(10)
        head.merge_ranks()  # nobody has anything yet
        for session in sessions():
            for chunk in session.split(40)[rank::world]:  # the last session's, and all of the second's, go to few
                head.update(x[chunk], y[chunk])
            head.merge_ranks()
            head.merge_ranks()
        logits[name] = head(x[600:]).contiguous()
    save_file(logits, f"{folder}/{rank}.safetensors")
    dist.destroy_process_group()


@pytest.mark.dist
def test_two_ranks_agree_with_one(tmp_path: Path):
    mp.spawn(work, (2, str(tmp_path)), nprocs=2)
    x, y, _ = digits()
    results = [load_file(tmp_path / f"{rank}.safetensors") for rank in range(2)]
    for name, make in HEADS.items():
        head = make()
        head.expand(10)
        for session in sessions():
            head.update(x[session], y[session])
            head.merge_ranks()
        expected = head(x[600:])
        assert torch.equal(results[0][name], results[1][name])
        assert (results[0][name] - expected).abs().max() < 1e-5
        assert torch.equal(results[0][name].argmax(1), expected.argmax(1))
