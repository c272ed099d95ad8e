"""Few-shot heads against easyfsl on the same episodes, and against the formulas in float64 loops over episodes and samples."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from easyfsl.methods import BDCSPN as EasyBDCSPN
from easyfsl.methods import LaplacianShot as EasyLaplacianShot
from easyfsl.methods import PrototypicalNetworks
from easyfsl.methods import SimpleShot as EasySimpleShot
from sklearn.linear_model import Ridge as SklearnRidge
from sklearn.linear_model import RidgeClassifier
from sklearn.neighbors import NearestNeighbors
from torch import Tensor

from hdx.heads.bd_cspn import BDCSPN
from hdx.heads.laplacian_shot import LaplacianShot
from hdx.heads.ncm import NCM
from hdx.heads.ridge import Ridge
from hdx.heads.simpleshot import SimpleShot

D, WAYS, QUERIES = 640, 5, 15


def episodes(n: int, shots: int, d: int = D, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Clusters behind a ReLU, as bodies give them: support [n, S, d] and query [n, Q, d] with their labels."""
    generator = torch.Generator().manual_seed(seed)
    centres = 0.2 * torch.randn(n, WAYS, 1, d, generator=generator) - 0.2
    images = (centres + torch.randn(n, WAYS, shots + QUERIES, d, generator=generator)).relu()
    labels = torch.arange(WAYS).expand(n, WAYS)
    parts = [(images[:, :, :shots], shots), (images[:, :, shots:], QUERIES)]
    (support, y), (query, truth) = ((part.flatten(1, 2), labels.repeat_interleave(size, 1)) for part, size in parts)
    return support.contiguous(), y, query.contiguous(), truth


EASY = {
    "prototypes": (NCM(D), PrototypicalNetworks, {}),
    "prototypes of unit vectors": (SimpleShot(D, metric="euclidean"), PrototypicalNetworks, {"feature_normalization": 2}),
    "simpleshot": (SimpleShot(D), EasySimpleShot, {"feature_normalization": 2}),
    "simpleshot, not normalised": (SimpleShot(D, normalise=False), EasySimpleShot, {}),
    "bd_cspn": (BDCSPN(D), EasyBDCSPN, {"feature_normalization": 2}),
    "bd_cspn, not normalised": (BDCSPN(D, normalise=False), EasyBDCSPN, {}),
    "laplacian_shot": (LaplacianShot(D), EasyLaplacianShot, {"feature_normalization": 2}),
    "laplacian_shot, benchmark": (
        LaplacianShot(D, lam=0.1, steps=10),
        EasyLaplacianShot,
        {"feature_normalization": 2, "lambda_regularization": 0.1, "knn": 3, "inference_steps": 10},
    ),
    "laplacian_shot, four others": (
        LaplacianShot(D, lam=0.3, knn=5, steps=4),
        EasyLaplacianShot,
        {"feature_normalization": 2, "lambda_regularization": 0.3, "knn": 5, "inference_steps": 4},
    ),
}


@pytest.mark.parametrize(("name", "shots"), [(name, 5) for name in EASY] + [(name, 1) for name in EASY if "," not in name])
def test_accuracy_over_200_episodes_is_that_of_easyfsl(name: str, shots: int) -> None:
    head, method, options = EASY[name]
    support, y, query, truth = episodes(200, shots)
    easy = method(backbone=torch.nn.Identity(), **options)
    theirs = []
    with torch.no_grad():
        for s, labels, q in zip(support, y, query):
            easy.process_support_set(s, labels)
            theirs.append(easy(q).argmax(1))
    ours = head.classify(support, y, query, WAYS).argmax(2)
    accuracy = (torch.stack(theirs) == truth).double().mean()
    assert 0.3 < accuracy < 0.97  # neither chance nor all right
    assert abs((ours == truth).double().mean() - accuracy) <= 1e-4
    assert (ours == torch.stack(theirs)).double().mean() > 0.9995


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def rectified(support: np.ndarray, y: np.ndarray, query: np.ndarray) -> np.ndarray:
    old = np.stack([support[y == c].mean(0) for c in range(WAYS)])
    moved = query + support.mean(0) - query.mean(0)
    new = []
    guesses = [int(np.argmax([unit(x) @ unit(p) for p in old])) for x in moved]
    for c in range(WAYS):
        members = [x for x, label in zip(support, y) if label == c] + [x for x, guess in zip(moved, guesses) if guess == c]
        weights = [np.exp(unit(x) @ unit(old[c])) for x in members]
        new.append(sum(w * x for w, x in zip(weights, members)) / sum(weights))
    return np.stack(new)


def laplacian(support: np.ndarray, y: np.ndarray, query: np.ndarray, lam: float, knn: int, steps: int) -> np.ndarray:
    prototypes = rectified(support, y, query)
    unary = np.array([[np.sum((q - p) ** 2) for p in prototypes] for q in query])
    others = NearestNeighbors(n_neighbors=knn).fit(query).kneighbors(query, return_distance=False)[:, 1:]
    soft = np.exp(-unary)
    soft /= soft.sum(1, keepdims=True)
    old = np.inf
    for step in range(steps):
        soft = np.exp(-unary + lam * np.array([soft[row].sum(0) for row in others]))
        soft /= soft.sum(1, keepdims=True)
        energy = np.sum(soft * np.log(soft) + unary * soft - lam * np.array([soft[row].sum(0) for row in others]) * soft)
        if step > 1 and abs(energy - old) <= 1e-6 * abs(old):
            break
        old = energy
    return np.log(soft)


def simple(support: np.ndarray, y: np.ndarray, query: np.ndarray, base: np.ndarray, metric: str) -> np.ndarray:
    support, query = unit(support - base), unit(query - base)
    means = np.stack([support[y == c].mean(0) for c in range(WAYS)])
    if metric == "cosine":
        return query @ unit(means).T
    return np.array([[-np.sum((q - p) ** 2) for p in means] for q in query])


def with_base_mean(head: SimpleShot, base: np.ndarray) -> SimpleShot:
    head.base_mean.copy_(torch.from_numpy(base))
    return head


BASE = np.random.default_rng(0).uniform(0, 0.6, 48)
LOOPS = {
    "ncm": (NCM(48), lambda s, y, q: -np.array([[np.sum((x - s[y == c].mean(0)) ** 2) for c in range(WAYS)] for x in q])),
    "ncm cosine": (NCM(48, metric="cosine"), lambda s, y, q: simple(s, y, q, np.zeros(48), "cosine")),
    "simpleshot": (SimpleShot(48), lambda s, y, q: simple(s, y, q, np.zeros(48), "cosine")),
    "simpleshot cl2n": (
        with_base_mean(SimpleShot(48, centre="base", metric="euclidean"), BASE),
        lambda s, y, q: simple(s, y, q, BASE, "euclidean"),
    ),
    "bd_cspn": (BDCSPN(48), lambda s, y, q: unit(q) @ unit(rectified(unit(s), y, unit(q))).T),
    "bd_cspn, not normalised": (BDCSPN(48, normalise=False), lambda s, y, q: unit(q) @ unit(rectified(s, y, q)).T),
    "laplacian_shot": (LaplacianShot(48), lambda s, y, q: laplacian(unit(s), y, unit(q), 0.7, 3, 20)),
    "laplacian_shot, few steps": (
        LaplacianShot(48, lam=2.0, knn=6, steps=2),
        lambda s, y, q: laplacian(unit(s), y, unit(q), 2.0, 6, 2),
    ),
    "ridge": (Ridge(48), lambda s, y, q: SklearnRidge(alpha=len(s)).fit(s, np.eye(WAYS)[y]).predict(q)),
}


@pytest.mark.parametrize("unequal", [False, True], ids=["equal shots", "unequal shots"])
@pytest.mark.parametrize("name", LOOPS)
def test_logits_are_those_of_a_float64_loop(name: str, unequal: bool) -> None:
    head, loop = LOOPS[name]
    support, y, query, _ = episodes(6, 5, d=48)
    if unequal:  # 22 samples in any order, of every class at least two
        order = torch.stack([torch.randperm(22, generator=torch.Generator().manual_seed(i)) + 3 for i in range(6)])
        support, y = support.gather(1, order[..., None].expand(-1, -1, 48)), y.gather(1, order)
    ours = head.classify(support, y, query, WAYS).double().numpy()
    for e in range(6):
        expected = loop(support[e].double().numpy(), y[e].numpy(), query[e].double().numpy())
        np.testing.assert_allclose(ours[e], expected, rtol=2e-5, atol=5e-6)


@pytest.mark.parametrize("ridge", [1e-3, 1.0])
@pytest.mark.parametrize("offset", [0.0, 100.0])
def test_ridge_head_is_sklearns(ridge: float, offset: float) -> None:
    rng = np.random.default_rng(0)
    y = np.r_[np.arange(4), rng.choice(4, 296, p=[0.1, 0.2, 0.3, 0.4])]
    x = (rng.normal(size=(300, 20)) + 0.7 * rng.normal(size=(4, 20))[y] + offset).astype(np.float32)
    head = Ridge(20, ridge=ridge)
    head.expand(4)
    head.update(torch.from_numpy(x[:200]), torch.from_numpy(y[:200]))
    head.update(torch.from_numpy(x[200:]), torch.from_numpy(y[200:]))
    ours, x = head(torch.from_numpy(x)).numpy(), x.astype(np.float64)
    oracle = SklearnRidge(alpha=300 * ridge, solver="svd").fit(x, np.eye(4)[y])
    np.testing.assert_allclose(ours, oracle.predict(x), atol=1e-10)
    assert (ours.argmax(1) == RidgeClassifier(alpha=300 * ridge).fit(x, y).predict(x)).all()
